CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
CREATE TABLE "audit" (
   "id" INTEGER PRIMARY KEY,
   "ts_ms" INTEGER NOT NULL,
   "face" TEXT NOT NULL,
   "command" TEXT NOT NULL,
   "effect" TEXT NOT NULL,
   "arguments" TEXT NOT NULL,
   "outcome" TEXT NOT NULL
, "hash" TEXT NOT NULL DEFAULT '') STRICT;
CREATE TABLE "beats" (
   "session_id" TEXT PRIMARY KEY NOT NULL,
   "ts_ms" INTEGER NOT NULL,
   "document" TEXT NOT NULL
) STRICT;
CREATE TABLE "decisions" (
   "session_id" TEXT NOT NULL,
   "symbol" TEXT NOT NULL,
   "bar_ms" INTEGER NOT NULL,
   "document" TEXT NOT NULL,
   PRIMARY KEY ("session_id", "symbol", "bar_ms")
) STRICT;
CREATE TABLE "documents" (
   "account" TEXT NOT NULL,
   "name" TEXT NOT NULL,
   "document" TEXT NOT NULL,
   PRIMARY KEY ("account", "name")
) STRICT;
CREATE TABLE "equity" (
   "account" TEXT NOT NULL,
   "ts_ms" INTEGER NOT NULL,
   "session_id" TEXT NOT NULL,
   "document" TEXT NOT NULL,
   PRIMARY KEY ("account", "ts_ms")
) STRICT;
CREATE TABLE "errands" (
   "errand_id" TEXT PRIMARY KEY NOT NULL,
   "account" TEXT NOT NULL,
   "state" TEXT NOT NULL,
   "created_ms" INTEGER NOT NULL,
   "document" TEXT NOT NULL
) STRICT;
CREATE TABLE "fills" (
   "account" TEXT NOT NULL,
   "symbol" TEXT NOT NULL,
   "trade_id" TEXT NOT NULL,
   "session_id" TEXT NOT NULL,
   "ts_ms" INTEGER NOT NULL,
   "document" TEXT NOT NULL,
   PRIMARY KEY ("account", "symbol", "trade_id")
) STRICT;
CREATE TABLE "funding" (
   "account" TEXT NOT NULL,
   "symbol" TEXT NOT NULL,
   "ts_ms" INTEGER NOT NULL,
   "session_id" TEXT NOT NULL,
   "document" TEXT NOT NULL,
   PRIMARY KEY ("account", "symbol", "ts_ms")
) STRICT;
CREATE TABLE "halts" (
   "id" INTEGER PRIMARY KEY,
   "ts_ms" INTEGER NOT NULL,
   "document" TEXT NOT NULL,
   "cleared_ms" INTEGER,
   "cleared_by" TEXT
) STRICT;
CREATE TABLE "happenings" (
   "id" INTEGER PRIMARY KEY,
   "account" TEXT NOT NULL,
   "session_id" TEXT NOT NULL,
   "ts_ms" INTEGER NOT NULL,
   "level" TEXT NOT NULL,
   "document" TEXT NOT NULL
) STRICT;
CREATE TABLE "intents" (
   "client_id" TEXT PRIMARY KEY NOT NULL,
   "account" TEXT NOT NULL,
   "session_id" TEXT NOT NULL,
   "symbol" TEXT NOT NULL,
   "purpose" TEXT NOT NULL,
   "state" TEXT NOT NULL,
   "is_open" INTEGER NOT NULL,
   "face" TEXT NOT NULL,
   "created_ms" INTEGER NOT NULL,
   "updated_ms" INTEGER NOT NULL,
   "risk_usdt" TEXT NOT NULL,
   "notional_usdt" TEXT NOT NULL,
   "document" TEXT NOT NULL
) STRICT;
CREATE TABLE "pauses" (
   "symbol" TEXT PRIMARY KEY NOT NULL,
   "document" TEXT NOT NULL
) STRICT;
CREATE TABLE "proposals" (
   "proposal_id" TEXT PRIMARY KEY NOT NULL,
   "account" TEXT NOT NULL,
   "plan_hash" TEXT NOT NULL,
   "state" TEXT NOT NULL,
   "created_ms" INTEGER NOT NULL,
   "document" TEXT NOT NULL
) STRICT;
CREATE TABLE "runs" (
   "run_id" TEXT PRIMARY KEY NOT NULL,
   "kind" TEXT NOT NULL,
   "series" TEXT NOT NULL,
   "created_ms" INTEGER NOT NULL,
   "symbols" TEXT NOT NULL,
   "timeframe" TEXT NOT NULL,
   "since_ms" INTEGER NOT NULL,
   "until_ms" INTEGER NOT NULL,
   "digests" TEXT NOT NULL,
   "metrics" TEXT NOT NULL,
   "verdict_status" TEXT NOT NULL,
   "version" TEXT NOT NULL,
   "result" BLOB NOT NULL
) STRICT;
CREATE TABLE "sessions" (
   "session_id" TEXT PRIMARY KEY NOT NULL,
   "account" TEXT NOT NULL,
   "started_ms" INTEGER NOT NULL,
   "ended_ms" INTEGER,
   "end_reason" TEXT NOT NULL,
   "document" TEXT NOT NULL
) STRICT;
CREATE TABLE "trades" (
   "trade_id" TEXT PRIMARY KEY NOT NULL,
   "account" TEXT NOT NULL,
   "session_id" TEXT NOT NULL,
   "symbol" TEXT NOT NULL,
   "exit_ms" INTEGER NOT NULL,
   "document" TEXT NOT NULL,
   "note" TEXT,
   "tags" TEXT
) STRICT;
CREATE TABLE "trials" (
   "data_digest" TEXT NOT NULL,
   "config_digest" TEXT NOT NULL,
   "sharpe" REAL NOT NULL,
   "times" INTEGER NOT NULL,
   "first_ms" INTEGER NOT NULL,
   "last_ms" INTEGER NOT NULL,
   PRIMARY KEY ("data_digest", "config_digest")
) STRICT;
CREATE TABLE "zones" (
   "session_id" TEXT NOT NULL,
   "symbol" TEXT NOT NULL,
   "ts_ms" INTEGER NOT NULL,
   "document" TEXT NOT NULL,
   PRIMARY KEY ("session_id", "symbol", "ts_ms")
) STRICT;
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE INDEX "idx_audit_ts_ms"
    ON "audit" ("ts_ms");
CREATE INDEX "idx_errands_account_state"
    ON "errands" ("account", "state");
CREATE INDEX "idx_fills_account_ts_ms"
    ON "fills" ("account", "ts_ms");
CREATE INDEX "idx_happenings_ts_ms"
    ON "happenings" ("ts_ms");
CREATE INDEX "idx_intents_account_created_ms"
    ON "intents" ("account", "created_ms");
CREATE INDEX "idx_intents_account_is_open"
    ON "intents" ("account", "is_open");
CREATE INDEX "idx_proposals_account_state"
    ON "proposals" ("account", "state");
CREATE INDEX "idx_runs_created_ms"
    ON "runs" ("created_ms");
CREATE INDEX "idx_runs_kind_series_created_ms"
    ON "runs" ("kind", "series", "created_ms");
CREATE INDEX "idx_sessions_started_ms"
    ON "sessions" ("started_ms");
CREATE INDEX "idx_trades_exit_ms"
    ON "trades" ("exit_ms");
CREATE TRIGGER audit_keeps_places before insert on audit when exists (select 1 from audit where id = new.id) begin select raise(abort, 'the audit trail is append-only'); end;
CREATE TRIGGER audit_keeps_rows before delete on audit begin select raise(abort, 'the audit trail is append-only'); end;
CREATE TRIGGER audit_keeps_words before update on audit begin select raise(abort, 'the audit trail is append-only'); end;
insert into _sqlite_migrations values (1, 'blofin', 'm0001_runs_trials_audit', '');
insert into _sqlite_migrations values (2, 'blofin', 'm0002_journal', '');
pragma user_version = 2;
