/* What every page needs: the display choices, and the stream that keeps its panels true. */
"use strict";

(() => {
  /* ---- theme and colours, remembered in this browser; set before anything is drawn ---- */

  const root = document.documentElement;
  const CHOICES = { theme: ["dark", "light"], colours: ["safe"] };
  for (const [name, words] of Object.entries(CHOICES)) {
    const chosen = localStorage.getItem("blofin-" + name);
    if (words.includes(chosen)) root.dataset[name] = chosen;
  }

  function rememberDisplay() {
    new MutationObserver(() => {
      for (const name of Object.keys(CHOICES)) {
        if (root.dataset[name]) localStorage.setItem("blofin-" + name, root.dataset[name]);
        else localStorage.removeItem("blofin-" + name);
      }
    }).observe(root, { attributes: true, attributeFilter: ["data-theme", "data-colours"] });
    if (window.BlofinChart) { BlofinChart.wireButtons(); return; } // its charts repaint as well
    const next = { "": "dark", dark: "light", light: "" };
    document.getElementById("theme")?.addEventListener("click", () => {
      const chosen = next[root.dataset.theme ?? ""];
      if (chosen) root.dataset.theme = chosen; else delete root.dataset.theme;
    });
    const colours = document.getElementById("colours");
    colours?.addEventListener("click", () => {
      if (root.dataset.colours) delete root.dataset.colours; else root.dataset.colours = "safe";
      colours.setAttribute("aria-pressed", String(Boolean(root.dataset.colours)));
    });
  }

  /* ---- panels ---- */

  /* Folds new content into what is shown, so that focus, selection and a click half done survive. */
  function fold(shown, wanted) {
    const old = [...shown.childNodes], fresh = [...wanted.childNodes];
    fresh.forEach((node, i) => {
      const there = old[i];
      if (!there) shown.append(node);
      else if (there.nodeType !== node.nodeType || there.nodeName !== node.nodeName) there.replaceWith(node);
      else if (node.nodeType === Node.TEXT_NODE) { if (there.data !== node.data) there.data = node.data; }
      else if (node.nodeType === Node.ELEMENT_NODE) { foldAttributes(there, node); fold(there, node); }
    });
    old.slice(fresh.length).forEach((node) => node.remove());
  }

  function foldAttributes(shown, wanted) {
    for (const { name, value } of [...wanted.attributes]) {
      if (shown.getAttribute(name) !== value) shown.setAttribute(name, value);
    }
    for (const { name } of [...shown.attributes]) if (!wanted.hasAttribute(name)) shown.removeAttribute(name);
  }

  /* The server drew it with every value escaped; a parsed document runs no script. */
  function showPanel(name, html) {
    const panel = document.querySelector(`[data-panel="${CSS.escape(name)}"]`);
    if (panel) fold(panel, new DOMParser().parseFromString(html, "text/html").body);
  }

  function follow(page) {
    const broken = document.getElementById("line");
    const stream = new EventSource("/live?page=" + encodeURIComponent(page));
    let heard = Date.now();
    stream.addEventListener("look", (event) => {
      heard = Date.now();
      broken.hidden = true;
      const look = JSON.parse(event.data);
      for (const [name, html] of Object.entries(look.panels)) showPanel(name, html);
      document.dispatchEvent(new CustomEvent("blofin:look", { detail: look }));
      if (look.ended) { stream.close(); clearInterval(watch); }
    });
    stream.addEventListener("over", () => { stream.close(); location.reload(); });
    const watch = setInterval(() => { if (Date.now() - heard > 6000) broken.hidden = false; }, 1000);
    addEventListener("pagehide", () => { stream.close(); clearInterval(watch); });
    addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  }

  document.addEventListener("DOMContentLoaded", () => {
    rememberDisplay();
    const tab = document.querySelector(".top nav [aria-current]"); // on a phone it may lie outside
    if (tab) tab.parentElement.scrollLeft = tab.offsetLeft - tab.parentElement.offsetLeft - 40;
    if (document.body.dataset.live) follow(document.body.dataset.live);
  });
})();
