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
CREATE TABLE "trials" (
   "data_digest" TEXT NOT NULL,
   "config_digest" TEXT NOT NULL,
   "sharpe" REAL NOT NULL,
   "times" INTEGER NOT NULL,
   "first_ms" INTEGER NOT NULL,
   "last_ms" INTEGER NOT NULL,
   PRIMARY KEY ("data_digest", "config_digest")
) STRICT;
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE INDEX "idx_audit_ts_ms"
    ON "audit" ("ts_ms");
CREATE INDEX "idx_runs_created_ms"
    ON "runs" ("created_ms");
CREATE INDEX "idx_runs_kind_series_created_ms"
    ON "runs" ("kind", "series", "created_ms");
insert into _sqlite_migrations values (1, 'blofin', 'm0001_runs_trials_audit', '');
pragma user_version = 1;
