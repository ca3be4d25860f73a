/* The price charts of the dashboard, the zone map and a trade: candles, zones, levels, fills, replay. */
"use strict";

(() => {
  const { element, number, moment, colour } = BlofinChart;
  const ROLES = {
    entry: { title: "ENTRY", colour: "entry", style: 0 }, stop: { title: "SL", colour: "down", style: 1 },
    target: { title: "TP", colour: "up", style: 1 }, mark: { title: "LIQ", colour: "muted", style: 3 },
  };
  const PLAY_MS = 450, TYPE_MS = 90;

  async function fetchJson(path) {
    const answer = await fetch(path, { headers: { accept: "application/json" } });
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.error?.message ?? "the server said " + answer.status);
    return found;
  }

  /* The library draws its mark when it pleases, as a link without words. */
  function nameLogo(host) {
    const name = () => {
      const logo = host.querySelector("#tv-attr-logo:not([aria-label])");
      if (logo) logo.setAttribute("aria-label", "Charting by TradingView");
    };
    new MutationObserver(name).observe(host, { childList: true, subtree: true });
    name();
  }

  class PriceChart {
    constructor(host) {
      this.host = host;
      this.price = BlofinChart.create(host, { wheel: host.classList.contains("map") });
      this.lines = [];
      this.levels = [];
      this.markers = LightweightCharts.createSeriesMarkers(this.price.series, []);
      nameLogo(host);
      this.at = null;
      this.all = false;
      host.parentElement.querySelector(".chart-tools")?.append(BlofinChart.toolbar(this.price));
      BlofinChart.onRepaint(() => { this.drawLevels(); this.drawMarks(); });
    }

    path() {
      const { chart, symbol, timeframe } = this.host.dataset;
      const query = new URLSearchParams();
      if (symbol) query.set("symbol", symbol);
      if (timeframe) query.set("timeframe", timeframe);
      if (this.at !== null) query.set("at", String(this.at));
      if (this.all) query.set("all", "true");
      return chart + (query.size ? "?" + query : "");
    }

    async load({ keep = false } = {}) {
      const asked = this.path();
      this.asked = asked;
      const view = await fetchJson(asked);
      if (this.asked !== asked) return; // another one was asked for meanwhile
      this.view = view;
      const range = keep ? this.price.chart.timeScale().getVisibleLogicalRange() : null;
      this.levels = view.levels;
      this.price.show({ ...view, levels: [] });
      if (range) this.price.chart.timeScale().setVisibleLogicalRange(range);
      this.drawLevels();
      this.drawMarks();
      fillZones(view);
      const note = document.querySelector("[data-chart-note]");
      if (note) note.textContent = view.note || (view.at_ms === null ? "Now." : "As it was known then.");
      const from = document.querySelector("[data-zones-from]");
      if (from) from.textContent = { session: "As the session knew them.", candles: "Worked out from stored candles." }[view.zones_from] ?? "";
      this.host.dataset.ready = `${view.candles.t.length} candles, ${view.zones.length} zones`;
      return view;
    }

    drawLevels() {
      const { series, state } = this.price;
      this.lines.forEach((line) => series.removePriceLine(line));
      state.levels = this.levels;
      this.lines = this.levels.map((level) => {
        const role = ROLES[level.role] ?? ROLES.mark, shade = colour(role.colour);
        return series.createPriceLine({
          price: level.price, title: level.label || role.title, color: shade, lineStyle: role.style, lineWidth: 1,
          axisLabelColor: shade, axisLabelTextColor: colour("on-tag"),
        });
      });
    }

    drawMarks() {
      const long = (mark) => mark.side === "long" || mark.side === "buy";
      this.markers.setMarkers((this.view?.marks ?? []).map((mark) => {
        const entry = mark.kind === "entry", below = entry === long(mark);
        return {
          time: mark.time, position: below ? "belowBar" : "aboveBar", shape: entry ? (long(mark) ? "arrowUp" : "arrowDown") : "circle",
          color: colour(entry ? "entry" : "muted"), text: entry ? "" : mark.reason, size: entry ? 1 : 0.6,
        };
      }));
    }

    /* The last price moves the last candle; a new candle is fetched. */
    tick(look) {
      const { symbol } = this.host.dataset, quote = look.quotes?.[symbol];
      const { state, series } = this.price;
      if (this.at !== null || !symbol || !state.times.length) return;
      const levels = look.levels?.[symbol] ?? [];
      if (JSON.stringify(levels) !== JSON.stringify(this.levels.filter((level) => level.role !== "mark"))) {
        this.levels = levels;
        this.drawLevels();
      }
      if (!quote) return;
      const last = state.times.length - 1, { o, h, l, c } = state.candles;
      const behind = quote.ts_ms / 1000 - state.times[last];
      if (behind >= 2 * state.step && behind < 50 * state.step && Date.now() - (this.fetched ?? 0) > 15000) {
        this.fetched = Date.now();
        this.load({ keep: true }).catch(() => {});
        return;
      }
      if (behind < 0 || behind >= state.step) return;
      c[last] = quote.last;
      h[last] = Math.max(h[last], quote.last);
      l[last] = Math.min(l[last], quote.last);
      series.update({ time: state.times[last], open: o[last], high: h[last], low: l[last], close: c[last] });
    }
  }

  function fillZones(view) {
    const place = document.querySelector("[data-zones]");
    if (!place) return;
    const most = place.dataset.zones === "all" ? 60 : 6, digits = view.decimals;
    if (!view.table.length) { place.replaceChildren(element("p", view.note || "No zone is alive.", "muted")); return; }
    const table = element("table"), head = table.createTHead().insertRow(), body = table.createTBody();
    for (const [words, classes] of [["Zone", ""], ["Range", "n"], ["Score", "n"], ["State", ""]]) {
      const cell = element("th", words, classes);
      cell.scope = "col";
      head.append(cell);
    }
    for (const zone of view.table.slice(0, most)) {
      const row = body.insertRow(), name = element("th");
      name.scope = "row";
      const over = !["fresh", "tested"].includes(zone.state);
      name.append(element("span", "", `swatch ${zone.kind} ${over ? "over" : zone.state}`), `${zone.kind} ${zone.timeframe}`);
      name.title = `${zone.pattern}, ${zone.touches} touches, freshness ${number(zone.freshness * 100, 0)} %`;
      row.append(name, element("td", `${number(zone.low, digits)} – ${number(zone.high, digits)}`, "n"), element("td", number(zone.score, 0), "n"), element("td", zone.state));
    }
    const scroll = element("div", null, "scroll");
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", "Zones");
    scroll.append(table);
    place.replaceChildren(scroll);
    if (view.table.length > most) place.append(element("p", `${view.table.length - most} more on the zone map.`, "muted small"));
  }

  /* Replay: the same chart as it was known at the close of any candle. */
  function wireReplay(chart) {
    const part = (name) => document.querySelector(`[data-replay="${name}"]`);
    const slider = part("at");
    if (!slider) return;
    const words = part("moment"), play = part("play");
    let waiting = null, playing = null;
    const step = () => chart.view.step * 1000;
    const label = () => {
      words.textContent = chart.at === null ? "now" : moment(chart.at / 1000);
      slider.setAttribute("aria-valuetext", words.textContent);
    };
    function span(view) {
      if (view.first_ms === null || chart.at !== null) return;
      slider.min = String(view.first_ms + 60 * step());
      slider.max = String(view.last_ms);
      slider.step = String(step());
      slider.value = slider.max;
      label();
    }
    function go(ms, soon = TYPE_MS) {
      const end = Number(slider.max);
      chart.at = ms === null || ms >= end ? null : Math.max(Number(slider.min), ms);
      slider.value = String(chart.at ?? end);
      label();
      clearTimeout(waiting);
      waiting = setTimeout(() => chart.load().then((view) => {
        if (view && chart.at !== null) words.dataset.ready = String(chart.at);
      }).catch(complain), soon);
    }
    function stop() {
      clearInterval(playing);
      playing = null;
      play.setAttribute("aria-pressed", "false");
      play.textContent = "Play";
    }
    slider.addEventListener("input", () => go(Number(slider.value)));
    part("back").addEventListener("click", () => go((chart.at ?? Number(slider.max)) - step(), 0));
    part("on").addEventListener("click", () => go((chart.at ?? Number(slider.max)) + step(), 0));
    part("now").addEventListener("click", () => { stop(); go(null, 0); });
    play.addEventListener("click", () => {
      if (playing) { stop(); return; }
      if (chart.at === null) go(Number(slider.min) + (Number(slider.max) - Number(slider.min)) / 2, 0);
      play.setAttribute("aria-pressed", "true");
      play.textContent = "Stop";
      playing = setInterval(() => {
        if (chart.at === null) { stop(); return; }
        go(chart.at + step(), 0);
      }, PLAY_MS);
    });
    chart.onLoaded = span;
    if (chart.view) span(chart.view);
  }

  function complain(error) {
    const place = document.querySelector("[data-chart-note]") ?? document.querySelector("[data-zones]");
    place?.replaceChildren(element("p", String(error.message ?? error), "bad"));
  }

  for (const host of document.querySelectorAll("[data-chart]")) {
    const chart = new PriceChart(host);
    chart.load().then(() => wireReplay(chart)).catch(complain);
    document.addEventListener("blofin:look", (event) => chart.tick(event.detail));
    document.querySelector("[data-all]")?.addEventListener("change", (event) => {
      chart.all = event.target.checked;
      chart.load({ keep: true }).catch(complain);
    });
  }
})();
