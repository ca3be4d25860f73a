/* The moving parts of the report: equity, price charts and the trade list. Everything else is in the page. */
"use strict";

(() => {
  const LWC = LightweightCharts;
  const { element, number, moment, colour, faint } = BlofinChart;
  const data = BlofinChart.data();
  const byId = (id) => document.getElementById(id);
  const PAGE_ROWS = 50;

  /* ---- equity and drawdown ---- */

  function drawEquity(host) {
    const chart = LWC.createChart(host, {
      autoSize: true, ...BlofinChart.look(),
      handleScroll: { mouseWheel: false, vertTouchDrag: false }, handleScale: { mouseWheel: false },
    });
    chart.timeScale().applyOptions({ timeVisible: true, secondsVisible: false, minBarSpacing: 0.05, rightOffset: 2 });
    const points = (series) => series.t.map((time, i) => ({ time, value: series.v[i] }));
    const money = { priceFormat: { type: "custom", formatter: (value) => number(value, 0), minMove: 0.01 } };
    const share = { priceFormat: { type: "custom", formatter: (value) => number(value * 100, 1) + " %", minMove: 0.0001 } };
    const start = data.equity.v[0] ?? 0;
    const equity = chart.addSeries(LWC.BaselineSeries, { ...money, baseValue: { type: "price", price: start }, lineWidth: 2 }, 0);
    const others = data.equity_lines.map((line, i) => ({
      name: line.name, dash: [2, 1, 3, 4][i % 4],
      series: chart.addSeries(LWC.LineSeries, { ...money, lineWidth: 1, priceLineVisible: false }, 0), data: line,
    }));
    const drawdown = chart.addSeries(LWC.AreaSeries, { ...share, invertFilledArea: true, lineWidth: 1, priceLineVisible: false }, 1);
    chart.panes()[0].setStretchFactor(3);
    chart.panes()[1].setStretchFactor(1);
    equity.setData(points(data.equity));
    others.forEach((other) => other.series.setData(points(other.data)));
    drawdown.setData(points(data.drawdown));
    chart.timeScale().fitContent();
    const legend = host.appendChild(element("div", null, "legend"));

    function describe(values, time) {
      legend.replaceChildren();
      const row = legend.appendChild(element("div"));
      row.append(element("span", time === null ? "latest" : moment(time) + " UTC"));
      const cells = [["Strategy", equity, (v) => number(v, 2) + " USDT"],
        ...others.map((other) => [other.name, other.series, (v) => number(v, 2) + " USDT"]),
        ["Drawdown", drawdown, (v) => number(v * 100, 2) + " %"]];
      for (const [name, series, shown] of cells) {
        const cell = row.appendChild(element("span", name + " "));
        const point = values ? values.get(series) : series.data().at(-1);
        cell.append(element("em", point ? shown(point.value) : "–"));
      }
    }
    chart.subscribeCrosshairMove((event) => describe(event.time === undefined ? null : event.seriesData, event.time ?? null));

    function paint() {
      const up = colour("good"), down = colour("bad"), other = colour("muted");
      chart.applyOptions(BlofinChart.look());
      equity.applyOptions({
        topLineColor: up, topFillColor1: faint(up, 0.3), topFillColor2: faint(up, 0.03),
        bottomLineColor: down, bottomFillColor1: faint(down, 0.03), bottomFillColor2: faint(down, 0.3),
      });
      others.forEach((each) => each.series.applyOptions({ color: other, lineStyle: each.dash }));
      drawdown.applyOptions({ lineColor: down, topColor: faint(down, 0.05), bottomColor: faint(down, 0.35) });
      describe(null, null);
    }
    BlofinChart.onRepaint(paint);
    paint();
    host.dataset.ready = `${data.equity.t.length} points`;
  }

  /* ---- trades and zones on candles ---- */

  function rowsOf(columns) {
    const names = Object.keys(columns);
    const count = names.length ? columns[names[0]].length : 0;
    return Array.from({ length: count }, (_, i) => {
      const row = { index: i };
      for (const name of names) row[name] = columns[name][i];
      return row;
    });
  }

  function priceChart(trades) {
    const host = byId("price-chart");
    if (!host) return null;
    const price = BlofinChart.create(host, { wheel: false });
    const select = byId("price-symbol");
    byId("price-tools").append(BlofinChart.toolbar(price));
    function show(index) {
      const view = data.price_series[index];
      select.value = String(index);
      price.show({ ...view, trades: trades.filter((trade) => trade.symbol === view.symbol) });
      host.dataset.ready = `${price.state.times.length} candles, ${price.state.zones.length} zones, ${price.state.trades.length} trades`;
    }
    select.addEventListener("change", () => show(Number(select.value)));
    show(0);
    return {
      focus(trade) {
        const index = data.price_series.findIndex((view) => view.symbol === trade.symbol);
        if (index < 0) return false;
        if (price.state.symbol !== trade.symbol) show(index);
        price.focusTrade(trade);
        return true;
      },
    };
  }

  /* ---- the trade list ---- */

  const tone = (value) => (value > 0 ? "pos" : value < 0 ? "neg" : "");
  const pricePlaces = (value) => (value === null ? 2 : Math.min(10, Math.max(value >= 1000 ? 1 : 2, 5 - Math.floor(Math.log10(value || 1)))));
  const price = (value) => number(value, value === null ? 2 : pricePlaces(value));

  function duration(trade) {
    const minutes = Math.round((trade.exit - trade.entry) / 60);
    if (minutes < 60) return `${minutes} min`;
    if (minutes < 2880) return `${number(minutes / 60, 1)} h`;
    return `${number(minutes / 1440, 1)} d`;
  }

  const COLUMNS = [
    { key: "index", title: "#", show: (t) => String(t.index + 1), numeric: true },
    { key: "entry", title: "Entry, UTC", show: (t) => moment(t.entry) },
    { key: "symbol", title: "Symbol", show: (t) => t.symbol },
    { key: "side", title: "Side", show: (t) => (BlofinChart.isLong(t) ? "▲ " : "▼ ") + t.side },
    { key: "r_multiple", title: "R", show: (t) => number(t.r_multiple, 2, true), tone: (t) => tone(t.r_multiple), numeric: true },
    { key: "pnl_usdt", title: "USDT", show: (t) => number(t.pnl_usdt, 2, true), tone: (t) => tone(t.pnl_usdt), numeric: true },
    { key: "exit_reason", title: "Reason", show: (t) => t.exit_reason + (t.ambiguous ? " ?" : "") },
    { key: "entry_price", title: "Entry", show: (t) => price(t.entry_price), numeric: true },
    { key: "exit_price", title: "Exit", show: (t) => price(t.exit_price), numeric: true },
    { key: "held", title: "Held", show: duration, numeric: true },
    { key: "pattern", title: "Zone", show: (t) => [t.timeframe, t.pattern].filter(Boolean).join(" ") || "–" },
    { key: "confidence", title: "Score", show: (t) => number(t.confidence, 0), numeric: true },
    { key: "note", title: "Note", show: (t) => [t.tags, t.note].filter(Boolean).join(" · ") || "–", note: true },
  ];

  function tradeList(trades, chart) {
    const host = byId("trade-table");
    if (!host) return;
    const state = { key: "index", down: false, page: 0, selected: null };
    const filters = { symbol: byId("filter-symbol"), reason: byId("filter-reason"), result: byId("filter-result"), text: byId("filter-text") };
    const fill = (select, values) => [...new Set(values)].sort().forEach((value) => {
      const option = select.appendChild(element("option", value));
      option.value = value;
    });
    fill(filters.symbol, trades.map((t) => t.symbol));
    fill(filters.reason, trades.map((t) => t.exit_reason));
    for (const input of Object.values(filters)) input.addEventListener("input", () => { state.page = 0; render(); });

    const heads = COLUMNS.map((column) => {
      const head = host.tHead.rows[0].appendChild(element("th", null, column.numeric ? "n" : ""));
      head.scope = "col";
      const button = head.appendChild(element("button", column.title));
      button.type = "button";
      button.addEventListener("click", () => {
        state.down = state.key === column.key ? !state.down : Boolean(column.numeric) && column.key !== "index";
        state.key = column.key;
        state.page = 0;
        render();
      });
      return head;
    });

    function chosen() {
      const text = filters.text.value.trim().toLowerCase();
      const rows = trades.filter((t) =>
        (!filters.symbol.value || t.symbol === filters.symbol.value) &&
        (!filters.reason.value || t.exit_reason === filters.reason.value) &&
        (!filters.result.value || (filters.result.value === "win") === t.r_multiple > 0) &&
        (!text || `${t.id} ${t.tags} ${t.note} ${t.pattern} ${t.session} ${t.regime}`.toLowerCase().includes(text)));
      const value = (t) => (state.key === "held" ? t.exit - t.entry : t[state.key]);
      const order = (a, b) => {
        const x = value(a), y = value(b);
        if (x === y) return a.index - b.index;
        if (x === null) return 1;
        if (y === null) return -1;
        return (x < y ? -1 : 1) * (state.down ? -1 : 1);
      };
      return rows.sort(order);
    }

    function row(trade) {
      const line = element("tr", null, trade === state.selected ? "selected" : "");
      COLUMNS.forEach((column, i) => {
        const cell = line.appendChild(element("td", null, [column.numeric ? "n" : "", column.note ? "note" : "", column.tone?.(trade) ?? ""].join(" ").trim()));
        if (i > 0) { cell.textContent = column.show(trade); if (column.note) cell.title = column.show(trade); return; }
        const button = cell.appendChild(element("button", column.show(trade), "link"));
        button.type = "button";
        button.setAttribute("aria-label", `Show trade ${trade.index + 1} on the chart`);
      });
      line.addEventListener("click", () => select(trade));
      return line;
    }

    function select(trade) {
      state.selected = trade;
      const found = chart ? chart.focus(trade) : false;
      describe(trade);
      render();
      if (found) byId("price").scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth", block: "start" });
    }

    function describe(trade) {
      const panel = byId("trade-detail");
      if (!panel) return;
      panel.hidden = false;
      panel.replaceChildren(element("h3", `Trade ${trade.index + 1}: ${trade.side} ${trade.symbol}, ${number(trade.r_multiple, 2, true)} R`));
      const list = panel.appendChild(element("dl"));
      const parts = trade.exits.map(([at, value, quantity, reason]) => `${number(quantity, 4)} at ${price(value)} (${reason}, ${moment(at)})`).join("; ");
      const facts = [
        ["Entry", `${price(trade.entry_price)} · ${moment(trade.entry)} UTC`], ["Exit", `${price(trade.exit_price)} · ${moment(trade.exit)} UTC · ${trade.exit_reason}`],
        ["Parts", parts], ["Stop", price(trade.stop)], ["Target", price(trade.target)], ["Quantity", number(trade.quantity, 4)],
        ["Net", `${number(trade.pnl_usdt, 2, true)} USDT`], ["Fees", number(trade.fees_usdt, 2)], ["Funding", number(trade.funding_usdt, 2, true)],
        ["Slippage", number(trade.slippage_usdt, 2)], ["Best / worst on the way", `${number(trade.mfe_r, 2, true)} R / ${number(trade.mae_r, 2, true)} R`],
        ["Zone", [trade.timeframe, trade.pattern, trade.zone_id].filter(Boolean).join(" ")], ["Score", number(trade.confidence, 0)],
        ["Freshness", trade.freshness === null ? "–" : number(trade.freshness * 100, 0) + " %"], ["Session", trade.session], ["Regime", trade.regime],
        ["Order inside the bar", trade.ambiguous ? "unknown; counted as a loss" : ""], ["Tags", trade.tags], ["Note", trade.note],
      ];
      for (const [name, value] of facts) {
        if (!value || value === "–") continue;
        const pair = list.appendChild(element("div"));
        pair.append(element("dt", name), element("dd", value));
      }
    }

    function render() {
      const rows = chosen();
      const pages = Math.max(1, Math.ceil(rows.length / PAGE_ROWS));
      state.page = Math.min(Math.max(state.page, 0), pages - 1);
      const shown = rows.slice(state.page * PAGE_ROWS, (state.page + 1) * PAGE_ROWS);
      host.tBodies[0].replaceChildren(...shown.map(row));
      heads.forEach((head, i) => {
        const sorted = COLUMNS[i].key === state.key;
        head.setAttribute("aria-sort", sorted ? (state.down ? "descending" : "ascending") : "none");
      });
      const sum = rows.reduce((total, t) => total + (t.r_multiple ?? 0), 0);
      const wins = rows.filter((t) => t.r_multiple > 0).length;
      byId("trade-count").textContent = rows.length
        ? `${number(rows.length, 0)} trades, ${number((wins / rows.length) * 100, 1)} % won, ${number(sum, 2, true)} R in all`
        : "no trade matches";
      byId("page-now").textContent = `${state.page + 1} of ${pages}`;
      byId("page-before").disabled = state.page === 0;
      byId("page-after").disabled = state.page >= pages - 1;
    }
    byId("page-before").addEventListener("click", () => { state.page -= 1; render(); });
    byId("page-after").addEventListener("click", () => { state.page += 1; render(); });
    render();
  }

  const trades = rowsOf(data.trades);
  BlofinChart.wireButtons();
  if (byId("equity-chart")) drawEquity(byId("equity-chart"));
  tradeList(trades, priceChart(trades));
})();
