/* What a page must offer to those who do not see it or use no mouse: a list of defects in words. */
(() => {
  const defects = [];
  const shown = (node) => node.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const brief = (node) => node.outerHTML.slice(0, 90);
  const name = (node) => (node.getAttribute("aria-label") ?? "").trim()
    || [...(node.labels ?? [])].map((label) => label.textContent).join(" ").trim()
    || (["BUTTON", "A", "SUMMARY"].includes(node.nodeName) ? node.textContent.trim() : "");
  for (const node of document.querySelectorAll("button, a[href], input:not([type=hidden]), select, summary")) {
    if (shown(node) && !name(node)) defects.push("no name: " + brief(node));
  }
  for (const node of document.querySelectorAll("meter, progress, [role=region], [role=group], [role=img], nav, article")) {
    if (shown(node) && !name(node)) defects.push("no name: " + brief(node));
  }
  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  for (const id of new Set(ids)) if (ids.filter((other) => other === id).length > 1) defects.push("id twice: " + id);
  for (const node of document.querySelectorAll("[aria-describedby], label[for]")) {
    for (const id of (node.getAttribute("aria-describedby") ?? node.htmlFor).split(" ")) {
      if (!document.getElementById(id)) defects.push("leads nowhere: " + brief(node));
    }
  }
  for (const landmark of ["main", "header", "footer", "nav"]) {
    if (document.querySelectorAll("body > " + landmark + ", body > header nav").length < 1) defects.push("no " + landmark);
  }
  if (document.querySelectorAll("main h1").length < 1) defects.push("no h1");
  let level = 0;
  for (const heading of document.querySelectorAll("main h1, main h2, main h3")) {
    const own = Number(heading.nodeName[1]);
    if (own > level + 1 && level > 0) defects.push("heading skips: " + brief(heading));
    level = own;
  }
  for (const cell of document.querySelectorAll("thead th")) if (cell.scope !== "col") defects.push("no scope: " + brief(cell));

  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (text) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const under = (node) => {
    for (let place = node; place; place = place.parentElement) {
      const colour = rgba(getComputedStyle(place).backgroundColor);
      if (colour[3] > 200) return colour;
    }
    return rgba(getComputedStyle(document.documentElement).backgroundColor);
  };
  const light = ([r, g, b]) => [r, g, b].map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
  const seen = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || seen.has(node) || !shown(node) || node.closest(".hidden, canvas, noscript, #tv-attr-logo")) continue;
    seen.add(node);
    const style = getComputedStyle(node), size = parseFloat(style.fontSize), bold = Number(style.fontWeight) >= 700;
    const [one, two] = [light(rgba(style.color)), light(under(node))].sort((a, b) => b - a);
    const wanted = size >= 24 || (bold && size >= 18.66) ? 3 : 4.5;
    const ratio = (one + 0.05) / (two + 0.05);
    if (ratio < wanted - 0.01) defects.push(`contrast ${ratio.toFixed(2)}: ${brief(node)}`);
  }
  return [...new Set(defects)].slice(0, 20);
})()
