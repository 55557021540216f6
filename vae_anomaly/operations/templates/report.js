// Draws each chart when it comes into view, in the colours of the style sheet.
(() => {
  "use strict";
  const root = document.documentElement;
  const plots = [...document.querySelectorAll(".plot")];
  const drawn = new Set();
  const isTouch = matchMedia("(pointer: coarse)").matches;
  const config = {
    displaylogo: false,
    displayModeBar: isTouch ? false : "hover",
    responsive: true,
    doubleClick: "reset",
    modeBarButtons: [["zoomIn2d", "zoomOut2d", "resetScale2d", "toImage"]],
  };

  // "@accent" under any key that ends in "color" becomes the value of --accent.
  const paint = (value, key, palette) => {
    if (Array.isArray(value)) return value.map((item) => paint(item, key, palette));
    if (value !== null && typeof value === "object") {
      return Object.fromEntries(
        Object.entries(value).map(([name, item]) => [name, paint(item, name, palette)]),
      );
    }
    const isColor = typeof value === "string" && value.startsWith("@") && key.endsWith("color");
    return isColor ? palette.getPropertyValue("--" + value.slice(1)).trim() : value;
  };

  const draw = (plot) => {
    const figure = JSON.parse(document.getElementById(plot.dataset.figure).textContent);
    const { data, layout } = paint(figure, "", getComputedStyle(root));
    if (isTouch) layout.dragmode = false; // a finger scrolls the page; the slider zooms
    if (plot.clientWidth < 480) {
      layout.xaxis.nticks = 4;
      if (layout.xaxis.rangeslider) layout.yaxis.title = undefined;
    }
    drawn.add(plot);
    return Plotly.newPlot(plot, data, layout, config);
  };

  const observer = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (isIntersecting && !drawn.has(target)) draw(target);
      }
    },
    { rootMargin: "300px" },
  );
  plots.forEach((plot) => observer.observe(plot));

  const repaint = () => drawn.forEach(draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);

  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target instanceof HTMLDetailsElement) target.open = true;
  };
  addEventListener("hashchange", reveal);
  reveal();

  for (const box of document.querySelectorAll("details")) {
    box.addEventListener("toggle", () => {
      if (!box.open) return;
      for (const plot of box.querySelectorAll(".plot")) {
        if (drawn.has(plot)) Plotly.Plots.resize(plot);
      }
    });
  }

  addEventListener("beforeprint", () => {
    root.dataset.printing = "";
    document.querySelectorAll("details").forEach((box) => (box.open = true));
    plots.forEach(draw);
  });
  addEventListener("afterprint", () => {
    delete root.dataset.printing;
    repaint();
  });
})();
