/* Equity over time and, below it, how far it lies under its peak. */
"use strict";

(() => {
  const { colour, faint, look, number, onRepaint } = BlofinChart;
  const LWC = LightweightCharts;

  /* The notice and its link stand below; two marks on a page would be one too many. */
  const plain = () => ({ ...look(), layout: { ...look().layout, attributionLogo: false } });

  async function draw(host) {
    const answer = await fetch(host.dataset.equity);
    if (!answer.ok) return;
    const { t, equity, drawdown } = await answer.json();
    if (!t.length) {
      host.append(BlofinChart.element("p", "No equity was recorded yet.", "muted pad"));
      host.dataset.ready = "0 points";
      return;
    }
    const chart = LWC.createChart(host, {
      autoSize: true, ...plain(),
      handleScroll: { mouseWheel: false, vertTouchDrag: false }, handleScale: { mouseWheel: false },
    });
    chart.timeScale().applyOptions({ timeVisible: true, secondsVisible: true });
    const priced = (decimals) => ({ type: "custom", formatter: (value) => number(value, decimals), minMove: 0.01 });
    const line = chart.addSeries(LWC.AreaSeries, { lineWidth: 2, priceFormat: priced(0), priceLineVisible: false }, 0);
    const under = chart.addSeries(LWC.AreaSeries, {
      lineWidth: 1, priceFormat: { type: "custom", formatter: (value) => number(value, 1) + " %", minMove: 0.01 },
      priceLineVisible: false, invertFilledArea: true,
    }, 1);
    chart.panes()[0].setStretchFactor(3);
    chart.panes()[1].setStretchFactor(1);
    line.setData(t.map((time, i) => ({ time, value: equity[i] })));
    under.setData(t.map((time, i) => ({ time, value: drawdown[i] * 100 })));
    function paint() {
      chart.applyOptions(plain());
      const up = colour("up"), down = colour("down");
      line.applyOptions({ lineColor: up, topColor: faint(up, 0.3), bottomColor: faint(up, 0.02) });
      under.applyOptions({ lineColor: down, topColor: faint(down, 0.3), bottomColor: faint(down, 0.05) });
    }
    paint();
    onRepaint(paint);
    chart.timeScale().fitContent();
    let last = t[t.length - 1], peak = Math.max(...equity);
    host.dataset.ready = `${t.length} points`;
    if (host.dataset.equity.includes("?")) return;
    document.addEventListener("blofin:look", (event) => {
      const [time, value] = event.detail.equity ?? [];
      if (!time || value === null || time <= last) return;
      last = time;
      peak = Math.max(peak, value);
      line.update({ time, value });
      under.update({ time, value: (value / peak - 1) * 100 });
    });
  }

  for (const host of document.querySelectorAll("[data-equity]")) draw(host).catch(() => {});
})();
