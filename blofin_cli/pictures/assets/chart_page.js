/* The chart file: one chart that fills the window. */
"use strict";

(() => {
  const host = document.getElementById("chart");
  const price = BlofinChart.create(host, { wheel: true });
  price.show(BlofinChart.data());
  document.getElementById("chart-tools").append(BlofinChart.toolbar(price));
  BlofinChart.wireButtons();
  host.dataset.ready = `${price.state.times.length} candles, ${price.state.zones.length} zones, ${price.state.trades.length} trades`;
})();
