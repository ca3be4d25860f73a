/* The price chart shared by the chart file, the report and the web dashboard: candles, volume, zones,
   trades and levels. It draws what pictures/payload.py sends; the looks of a zone are decided there. */
"use strict";

const BlofinChart = (() => {
  const LWC = LightweightCharts;
  const DASH = "–";
  const TAGS = {
    entry: { title: "ENTRY", colour: "entry", style: 0 },
    stop: { title: "SL", colour: "down", style: 1 },
    target: { title: "TP", colour: "up", style: 1 },
    mark: { title: "MARK", colour: "muted", style: 3 },
  };
  const ZONE_REACH = 0.35;

  /* ---- words and colours ---- */

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

  function faint(hex, opacity) {
    const value = parseInt(hex.slice(1), 16);
    return `rgba(${value >> 16},${(value >> 8) & 255},${value & 255},${opacity})`;
  }

  function number(value, decimals = 2, signed = false) {
    if (value === null || value === undefined || !Number.isFinite(value)) return DASH;
    const shown = Math.abs(value).toLocaleString("en-US", {
      minimumFractionDigits: decimals, maximumFractionDigits: decimals,
    });
    const zero = !/[1-9]/.test(shown);
    return (zero ? "" : value < 0 ? "−" : signed ? "+" : "") + shown;
  }

  function moment(seconds) {
    return new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ");
  }

  function volume(value) {
    for (const [size, letter] of [[1e9, "B"], [1e6, "M"], [1e3, "K"]]) {
      if (value >= size) return Number((value / size).toPrecision(3)) + letter;
    }
    return String(Number(value.toPrecision(3)));
  }

  function element(name, text, classes) {
    const made = document.createElement(name);
    if (text !== undefined && text !== null) made.textContent = text;
    if (classes) made.className = classes;
    return made;
  }

  /* The last bar that opened at or before a time; the first one for earlier times. */
  function indexAt(times, seconds) {
    let low = 0, high = times.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (times[middle] <= seconds) low = middle + 1; else high = middle;
    }
    return Math.max(0, low - 1);
  }

  const isLong = (trade) => trade.side === "buy" || trade.side === "long";

  /* ---- primitives: shapes drawn on the price pane ---- */

  class Shapes {
    constructor(state, layer, paint) {
      this.state = state;
      this.paint = paint;
      this.views = [{ zOrder: () => layer, renderer: () => ({ draw: (target) => this.draw(target) }) }];
    }
    attached(parts) { this.parts = parts; }
    detached() { this.parts = null; }
    updateAllViews() {}
    paneViews() { return this.views; }
    refresh() { if (this.parts) this.parts.requestUpdate(); }
    draw(target) {
      if (!this.parts || !this.state.times.length) return;
      target.useBitmapCoordinateSpace((scope) => {
        const time = this.parts.chart.timeScale(), series = this.parts.series;
        const hr = scope.horizontalPixelRatio, vr = scope.verticalPixelRatio;
        const first = time.logicalToCoordinate(0) ?? 0;
        const slot = (time.logicalToCoordinate(1) ?? 1) - first;
        this.paint({
          context: scope.context, hr, vr,
          width: scope.bitmapSize.width, height: scope.bitmapSize.height, slot: slot * hr,
          x: (seconds) => (first + slot * indexAt(this.state.times, seconds)) * hr,
          y: (price) => { const y = series.priceToCoordinate(price); return y === null ? null : y * vr; },
        }, this.state);
      });
    }
  }

  class Zones extends Shapes {
    constructor(state) { super(state, "bottom", paintZones); }

    /* Alive zones near the visible candles come onto the scale, and so do levels and the chosen trade's plan. */
    autoscaleInfo(start, end) {
      const { candles, zones, times, levels, selected } = this.state;
      if (!times.length) return null;
      const from = Math.max(0, Math.floor(start)), to = Math.min(times.length - 1, Math.ceil(end));
      let low = Infinity, high = -Infinity;
      for (let i = from; i <= to; i++) {
        if (candles.l[i] < low) low = candles.l[i];
        if (candles.h[i] > high) high = candles.h[i];
      }
      const lines = to >= times.length - 1 ? levels.map((level) => level.price) : [];
      if (selected) lines.push(selected.stop, selected.target);
      for (const price of lines) {
        if (!Number.isFinite(price)) continue;
        low = Math.min(low, price);
        high = Math.max(high, price);
      }
      const reach = (high - low) * ZONE_REACH;
      let least = low, most = high;
      for (const zone of zones) {
        if (!zone.alive || zone.from > times[to]) continue;
        if (zone.low > high + reach || zone.high < low - reach) continue;
        least = Math.min(least, Math.max(zone.low, low - reach * 1.5));
        most = Math.max(most, Math.min(zone.high, high + reach * 1.5));
      }
      return Number.isFinite(least) ? { priceRange: { minValue: least, maxValue: most } } : null;
    }
  }

  function hatch(context, shade, ratio) {
    const tile = document.createElement("canvas");
    tile.width = tile.height = Math.round(7 * ratio);
    const pen = tile.getContext("2d");
    pen.strokeStyle = shade;
    pen.lineWidth = ratio;
    pen.beginPath();
    pen.moveTo(0, tile.height);
    pen.lineTo(tile.width, 0);
    pen.stroke();
    return context.createPattern(tile, "repeat");
  }

  function paintZones(pen, state) {
    const { context, hr } = pen;
    const colours = { demand: colour("demand"), supply: colour("supply") };
    const hatches = {};
    for (const kind of ["demand", "supply"]) hatches[kind] = hatch(context, faint(colours[kind], 0.3), hr);
    for (const alive of [false, true]) {
      for (const zone of state.zones) {
        if (zone.alive !== alive) continue;
        const box = zoneBox(zone, pen, state);
        if (!box) continue;
        const shade = colours[zone.kind];
        context.fillStyle = faint(shade, zone.opacity);
        context.fillRect(box.x, box.y, box.wide, box.tall);
        if (zone.hatched) {
          context.fillStyle = hatches[zone.kind];
          context.fillRect(box.x, box.y, box.wide, box.tall);
        }
        context.strokeStyle = faint(shade, alive ? 0.9 : 0.4);
        context.lineWidth = Math.max(1, Math.floor(hr));
        context.setLineDash({ solid: [], dashed: [6 * hr, 4 * hr], dotted: [2 * hr, 4 * hr] }[zone.border]);
        context.strokeRect(box.x + 0.5, box.y + 0.5, box.wide, box.tall);
        context.setLineDash([]);
      }
    }
  }

  function zoneBox(zone, pen, state) {
    const last = state.times[state.times.length - 1] + state.step;
    const from = zone.from < state.times[0] ? 0 : Math.max(0, pen.x(zone.from) - pen.slot / 2);
    const ends = zone.to !== null && zone.to < last;
    const to = ends ? Math.min(pen.width, pen.x(zone.to) + pen.slot / 2) : pen.width;
    if (zone.from >= last || to <= 0 || from >= pen.width) return null;
    const top = pen.y(zone.high), bottom = pen.y(zone.low);
    if (top === null || bottom === null || bottom < 0 || top > pen.height) return null;
    return {
      x: Math.round(from), y: Math.round(top),
      wide: Math.max(1, Math.round(to - from)), tall: Math.max(1, Math.round(bottom - top)),
    };
  }

  /* Above the candles, the living first; a label that would cover another is left out. */
  function paintLabels(pen, state) {
    const { context, vr } = pen;
    const placed = [], drawn = [], page = colour("page");
    for (const zone of state.zones) {
      const box = zoneBox(zone, pen, state);
      if (box) drawn.push({ zone, box });
    }
    context.lineJoin = "round";
    context.lineWidth = 3 * vr;
    context.strokeStyle = faint(page, 0.75);
    context.textBaseline = "alphabetic";
    context.font = `${11 * vr}px system-ui, sans-serif`;
    drawn.sort((a, b) => Number(b.zone.alive) - Number(a.zone.alive) || (b.zone.confidence ?? 0) - (a.zone.confidence ?? 0));
    for (const { zone, box } of drawn) {
      const length = context.measureText(zone.label).width + 6 * vr;
      const y = box.tall >= 17 * vr ? box.y + 13 * vr : box.y - 4 * vr;
      if (length > box.wide || y < 10 * vr || y > pen.height) continue;
      const right = box.x + box.wide - length;
      for (const x of zone.alive ? [box.x + 6 * vr, right] : [box.x + 6 * vr]) {
        if (placed.some((p) => Math.abs(p.y - y) < 13 * vr && x < p.x + p.length && p.x < x + length)) continue;
        placed.push({ x, y, length });
        context.fillStyle = faint(colour(zone.kind + "-text"), zone.alive ? 1 : 0.65);
        context.strokeText(zone.label, x, y);
        context.fillText(zone.label, x, y);
        break;
      }
    }
  }

  function paintTrades(pen, state) {
    const { context, hr } = pen;
    const shades = { good: colour("good"), bad: colour("bad"), entry: colour("entry"), page: colour("page") };
    if (state.selected) paintPlan(pen, state.selected);
    const size = Math.min(6, Math.max(2.5, pen.slot / hr)) * hr;
    for (const trade of state.trades) {
      const x0 = pen.x(trade.entry), x1 = pen.x(trade.exit);
      if (x1 < -20 || x0 > pen.width + 20) continue;
      const y0 = pen.y(trade.entry_price), y1 = pen.y(trade.exit_price);
      if (y0 === null || y1 === null) continue;
      const win = trade.r_multiple > 0, shade = win ? shades.good : shades.bad;
      context.strokeStyle = shade;
      context.lineWidth = (trade === state.selected ? 2 : 1) * hr;
      context.setLineDash([4 * hr, 3 * hr]);
      context.beginPath(); context.moveTo(x0, y0); context.lineTo(x1, y1); context.stroke();
      context.setLineDash([]);
      context.fillStyle = shades.entry;
      context.strokeStyle = shades.page;
      context.lineWidth = hr;
      const tip = isLong(trade) ? size * 1.5 : -size * 1.5;
      context.beginPath();
      context.moveTo(x0, y0); context.lineTo(x0 + size, y0 + tip); context.lineTo(x0 - size, y0 + tip);
      context.closePath(); context.stroke(); context.fill();
      context.beginPath();
      if (win) {
        context.fillStyle = shade;
        context.arc(x1, y1, size * 0.75, 0, 7); context.fill();
      } else {
        context.strokeStyle = shade;
        context.lineWidth = 2 * hr;
        const arm = size * 0.7;
        context.moveTo(x1 - arm, y1 - arm); context.lineTo(x1 + arm, y1 + arm);
        context.moveTo(x1 + arm, y1 - arm); context.lineTo(x1 - arm, y1 + arm);
        context.stroke();
      }
    }
  }

  /* What the chosen trade risked and what it aimed for, from entry to exit. */
  function paintPlan(pen, trade) {
    const left = pen.x(trade.entry), wide = Math.max(pen.x(trade.exit) - left, pen.slot);
    const entry = pen.y(trade.entry_price);
    for (const [price, name] of [[trade.stop, "down"], [trade.target, "up"]]) {
      const y = price === null || price === undefined ? null : pen.y(price);
      if (y === null || entry === null) continue;
      pen.context.fillStyle = faint(colour(name), 0.18);
      pen.context.fillRect(left, Math.min(y, entry), wide, Math.abs(y - entry));
      pen.context.fillStyle = faint(colour(name), 0.9);
      pen.context.fillRect(left, y, wide, pen.hr);
    }
  }

  /* ---- the chart ---- */

  function look() {
    return {
      layout: {
        background: { type: "solid", color: colour("page") }, textColor: colour("muted"),
        fontFamily: "system-ui, -apple-system, Segoe UI, Roboto, DejaVu Sans, sans-serif", fontSize: 11,
        attributionLogo: true,
        panes: { separatorColor: colour("line"), separatorHoverColor: colour("line") },
      },
      grid: { vertLines: { color: faint(colour("muted"), 0.12) }, horzLines: { color: faint(colour("muted"), 0.12) } },
      rightPriceScale: { borderColor: colour("line") },
      timeScale: { borderColor: colour("line") },
      crosshair: {
        mode: 0,
        vertLine: { color: colour("muted"), labelBackgroundColor: colour("muted") },
        horzLine: { color: colour("muted"), labelBackgroundColor: colour("muted") },
      },
    };
  }

  /* Charts repaint when the system's scheme, the theme or the colours change. */
  const repaints = new Set();
  const repaintAll = () => repaints.forEach((repaint) => repaint());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaintAll);

  function onRepaint(repaint) { repaints.add(repaint); return () => repaints.delete(repaint); }

  function wireButtons() {
    const root = document.documentElement;
    const theme = document.getElementById("theme"), colours = document.getElementById("colours");
    const next = { "": "dark", dark: "light", light: "" };
    theme?.addEventListener("click", () => {
      const chosen = next[root.dataset.theme ?? ""];
      if (chosen) root.dataset.theme = chosen; else delete root.dataset.theme;
      theme.textContent = chosen ? "Theme: " + chosen : "Theme";
      repaintAll();
    });
    colours?.addEventListener("click", () => {
      const safe = root.dataset.colours !== "safe";
      if (safe) root.dataset.colours = "safe"; else delete root.dataset.colours;
      colours.setAttribute("aria-pressed", String(safe));
      repaintAll();
    });
  }

  /* options: wheel (zoom with the mouse wheel; a page that scrolls leaves it off). */
  function create(host, options = {}) {
    const state = { times: [], candles: {}, zones: [], trades: [], levels: [], selected: null, step: 60, decimals: 2 };
    const chart = LWC.createChart(host, {
      autoSize: true, ...look(),
      // A finger that moves up or down scrolls the page, not the chart.
      handleScroll: { mouseWheel: Boolean(options.wheel), vertTouchDrag: false },
      handleScale: { mouseWheel: Boolean(options.wheel) },
    });
    chart.timeScale().applyOptions({ timeVisible: true, secondsVisible: false, rightOffset: 6, minBarSpacing: 0.2 });
    const series = chart.addSeries(LWC.CandlestickSeries, {}, 0);
    const bars = chart.addSeries(LWC.HistogramSeries, {
      priceFormat: { type: "custom", formatter: volume, minMove: 0.0001 }, lastValueVisible: false, priceLineVisible: false,
    }, 1);
    chart.panes()[0].setStretchFactor(5);
    chart.panes()[1].setStretchFactor(1);
    const zones = new Zones(state), trades = new Shapes(state, "top", paintTrades);
    const labels = new Shapes(state, "top", paintLabels);
    series.attachPrimitive(zones);
    series.attachPrimitive(labels);
    series.attachPrimitive(trades);
    const legend = host.appendChild(element("div", null, "legend"));
    const lines = { price: [], levels: [] };

    function paint() {
      chart.applyOptions(look());
      const up = colour("up"), down = colour("down");
      series.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down, borderVisible: false });
      const { t, o, c, v } = state.candles;
      if (t) bars.setData(t.map((time, i) => ({ time, value: v[i], color: faint(c[i] >= o[i] ? up : down, 0.55) })));
      lines.price.forEach((line) => series.removePriceLine(line));
      lines.price = lines.levels.map((level) => {
        const role = TAGS[level.role] ?? TAGS.mark, shade = colour(role.colour);
        return series.createPriceLine({
          price: level.price, title: level.label || role.title, color: shade, lineStyle: role.style, lineWidth: 1,
          axisLabelColor: shade, axisLabelTextColor: colour("on-tag"),
        });
      });
      describe(null);
    }

    function describe(at) {
      legend.replaceChildren();
      const { t, o, h, l, c, v } = state.candles;
      if (!t || !t.length) { legend.append(element("span", "no candles")); return; }
      const i = at?.index ?? t.length - 1;
      const shown = (price) => number(price, state.decimals);
      const row = legend.appendChild(element("div"));
      row.append(element("b", `${state.symbol} ${state.timeframe}`), element("span", moment(t[i]) + " UTC"));
      const kind = c[i] >= o[i] ? "pos" : "neg";
      for (const [name, value] of [["O", shown(o[i])], ["H", shown(h[i])], ["L", shown(l[i])], ["C", shown(c[i])], ["V", volume(v[i])]]) {
        const cell = element("span", name + " ");
        cell.append(element("em", value, name === "V" ? "" : kind));
        row.append(cell);
      }
      for (const zone of at?.zones ?? []) {
        const line = legend.appendChild(element("div"));
        line.append(element("b", zone.label, zone.kind), element("span",
          `${shown(zone.low)} – ${shown(zone.high)} · ${zone.state} · freshness ${number(zone.freshness * 100, 0)} % · touches ${zone.touches}`));
      }
    }

    chart.subscribeCrosshairMove((event) => {
      if (event.logical === undefined || !event.point || !state.times.length) { describe(null); return; }
      const index = Math.min(Math.max(Math.round(event.logical), 0), state.times.length - 1);
      const price = event.paneIndex === 0 || event.paneIndex === undefined ? series.coordinateToPrice(event.point.y) : null;
      const seconds = state.times[index];
      const under = price === null ? [] : state.zones.filter((zone) =>
        zone.low <= price && price <= zone.high && zone.from <= seconds && (zone.to === null || seconds <= zone.to));
      describe({ index, zones: under.slice(-3) });
    });

    const timeScale = chart.timeScale();
    function zoom(factor) {
      const range = timeScale.getVisibleLogicalRange();
      if (!range) return;
      const middle = (range.from + range.to) / 2, half = Math.max(5, ((range.to - range.from) / 2) * factor);
      timeScale.setVisibleLogicalRange({ from: middle - half, to: middle + half });
    }
    function pan(share) {
      const range = timeScale.getVisibleLogicalRange();
      if (!range) return;
      const by = (range.to - range.from) * share;
      timeScale.setVisibleLogicalRange({ from: range.from + by, to: range.to + by });
    }
    function newest() {
      const count = Math.max(50, Math.min(180, Math.round((host.clientWidth || 900) / 7)));
      const end = state.times.length;
      timeScale.setVisibleLogicalRange({ from: Math.max(-2, end - count), to: Math.max(end, 40) + 6 });
    }
    const keys = {
      ArrowLeft: () => pan(-0.2), ArrowRight: () => pan(0.2), "+": () => zoom(0.7), "=": () => zoom(0.7),
      "-": () => zoom(1.4), Home: () => timeScale.fitContent(), End: newest,
    };
    host.tabIndex = 0;
    host.addEventListener("keydown", (event) => {
      const act = event.ctrlKey || event.metaKey || event.altKey ? null : keys[event.key];
      if (act) { act(); event.preventDefault(); }
    });

    function show(view) {
      const { t, o, h, l, c } = view.candles;
      const minMove = Number((10 ** -view.decimals).toFixed(view.decimals));
      Object.assign(state, { zones: [], trades: [], levels: [] }, view, { times: t, selected: null });
      series.applyOptions({ priceFormat: { type: "custom", formatter: (price) => number(price, view.decimals), minMove } });
      series.setData(t.map((time, i) => ({ time, open: o[i], high: h[i], low: l[i], close: c[i] })));
      lines.levels = state.levels;
      paint();
      newest();
    }

    function focusTrade(trade) {
      state.selected = trade;
      const from = indexAt(state.times, trade.entry), to = indexAt(state.times, trade.exit);
      const room = Math.max(25, (to - from) * 0.6);
      timeScale.setVisibleLogicalRange({ from: from - room, to: to + room });
      trades.refresh();
    }

    onRepaint(paint);
    return {
      chart, series, state, show, focusTrade, zoom, pan, newest, fit: () => timeScale.fitContent(),
      setZones: (list) => { state.zones = list; zones.refresh(); labels.refresh(); },
      setTrades: (list) => { state.trades = list; trades.refresh(); },
    };
  }

  /* Zoom and pan for those without a wheel or a keyboard. */
  function toolbar(price) {
    const bar = element("div", null, "buttons");
    bar.setAttribute("role", "group");
    bar.setAttribute("aria-label", "Move the chart");
    const acts = [["◀", "Earlier", () => price.pan(-0.5)], ["▶", "Later", () => price.pan(0.5)], ["+", "Zoom in", () => price.zoom(0.6)],
      ["−", "Zoom out", () => price.zoom(1.6)], ["All", "Show all", price.fit], ["Newest", "Show the newest bars", price.newest]];
    for (const [text, label, act] of acts) {
      const button = bar.appendChild(element("button", text));
      button.type = "button";
      button.setAttribute("aria-label", label);
      button.title = label;
      button.addEventListener("click", act);
    }
    return bar;
  }

  const data = () => JSON.parse(document.getElementById("data").textContent);
  return { create, toolbar, data, element, number, moment, colour, faint, look, indexAt, isLong, onRepaint, wireButtons };
})();
