/* The price charts of the dashboard, the zone map and a trade: candles, zones, levels, fills, replay. */
"use strict";

(() => {
  const { element, number, moment, colour } = BlofinChart;
  const ROLES = {
    entry: { title: "ENTRY", colour: "entry", style: 0 }, stop: { title: "SL", colour: "down", style: 1 },
    target: { title: "TP", colour: "up", style: 1 }, mark: { title: "LIQ", colour: "muted", style: 3 },
  };
  const PLAY_MS = 450, TYPE_MS = 90;
  /* How far from the candles in sight a level, or a zone, still comes onto the scale: ranges of them. */
  const LEVEL_REACH = 1.5, ZONE_REACH = 0.35;

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
      this.now = null;
      this.nowLine = null;
      this.beyond = host.appendChild(element("div", "", "beyond"));
      this.price.series.applyOptions({
        lastValueVisible: false, priceLineVisible: false, autoscaleInfoProvider: () => this.scale(),
      });
      this.markers = LightweightCharts.createSeriesMarkers(this.price.series, []);
      nameLogo(host);
      this.at = null;
      this.all = false;
      host.parentElement.querySelector(".chart-tools")?.append(BlofinChart.toolbar(this.price));
      BlofinChart.onRepaint(() => { this.drawLevels(); this.drawMarks(); this.drawPrice(); });
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
      if (this.at !== null) this.now = null; // a replay has no price of now
      const range = keep ? this.price.chart.timeScale().getVisibleLogicalRange() : null;
      this.levels = view.levels;
      this.price.show({ ...view, levels: [] });
      if (range) this.price.chart.timeScale().setVisibleLogicalRange(range);
      this.drawLevels();
      this.drawMarks();
      this.drawPrice();
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

    /* The candles stay readable: what lies far from those in sight stays off the scale. */
    scale() {
      const { candles, zones, times, levels } = this.price.state;
      const range = this.price.chart.timeScale().getVisibleLogicalRange();
      if (!range || !times.length) return null;
      const from = Math.max(0, Math.floor(range.from)), to = Math.min(times.length - 1, Math.ceil(range.to));
      let low = Infinity, high = -Infinity;
      for (let i = from; i <= to; i++) {
        low = Math.min(low, candles.l[i]);
        high = Math.max(high, candles.h[i]);
      }
      if (!Number.isFinite(low)) return null;
      const tall = high - low || Math.abs(high) * 0.001;
      let least = low, most = high;
      if (to === times.length - 1) {
        for (const price of [...levels.map((level) => level.price), this.now]) {
          if (!Number.isFinite(price) || price < low - LEVEL_REACH * tall || price > high + LEVEL_REACH * tall) continue;
          least = Math.min(least, price);
          most = Math.max(most, price);
        }
      }
      const reach = ZONE_REACH * tall;
      for (const zone of zones) {
        if (!zone.alive || zone.from > times[to] || zone.low > high + reach || zone.high < low - reach) continue;
        least = Math.min(least, Math.max(zone.low, low - 1.5 * reach));
        most = Math.max(most, Math.min(zone.high, high + 1.5 * reach));
      }
      this.showBeyond(least, most);
      return { priceRange: { minValue: least, maxValue: most } };
    }

    /* Levels off the scale are named at its edge. */
    showBeyond(least, most) {
      const { decimals, levels } = this.price.state;
      const words = levels.filter((level) => level.price < least || level.price > most).map((level) =>
        `${level.price > most ? "▲" : "▼"} ${level.label || ROLES[level.role]?.title || ""} ${number(level.price, decimals)}`);
      const text = words.join(" · ");
      if (this.beyond.textContent !== text) this.beyond.textContent = text;
    }

    /* The price of now where a session runs; else the close of the last candle, dated. None on a trade that is over. */
    drawPrice() {
      const { series, state } = this.price;
      if (this.nowLine) series.removePriceLine(this.nowLine);
      this.nowLine = null;
      if (!this.host.dataset.symbol || !state.times.length) return;
      const last = state.times.length - 1, close = state.candles.c[last];
      const price = this.now ?? close, shade = colour(price >= (this.now === null ? state.candles.o[last] : close) ? "up" : "down");
      const title = this.now === null ? "CLOSE " + moment(state.times[last] + state.step).slice(5) : "";
      this.nowLine = series.createPriceLine({
        price, title, color: shade, lineStyle: 1, lineWidth: 1, axisLabelColor: shade, axisLabelTextColor: colour("on-tag"),
      });
      this.host.dataset.price = `${title} ${price}`.trim();
    }

    /* The price of now moves its line; a new candle is fetched. */
    tick(look) {
      const { symbol } = this.host.dataset, quote = look.quotes?.[symbol];
      const { state } = this.price;
      if (this.at !== null || !symbol || !state.times.length) return;
      const levels = look.levels?.[symbol] ?? [];
      if (JSON.stringify(levels) !== JSON.stringify(this.levels.filter((level) => level.role !== "mark"))) {
        this.levels = levels;
        this.drawLevels();
      }
      const now = quote?.last ?? null;
      if (now !== this.now) {
        this.now = now;
        this.drawPrice();
      }
      if (!quote) return;
      const behind = quote.ts_ms / 1000 - state.times[state.times.length - 1];
      if (behind >= 2 * state.step && behind < 50 * state.step && Date.now() - (this.fetched ?? 0) > 15000) {
        this.fetched = Date.now();
        this.load({ keep: true }).catch(() => {});
      }
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
