"use strict";
// The query and its best templates by 3Dmol.js; without WebGL a sentence says so.
(() => {
  const box = document.getElementById("viewer");
  const data = JSON.parse(document.getElementById("structures-data").textContent);
  const background = () =>
    getComputedStyle(document.documentElement).getPropertyValue("--paper").trim();
  let viewer = null;
  try {
    viewer = window.$3Dmol.createViewer(box, { backgroundColor: background() });
  } catch (error) {
    viewer = null;
  }
  if (!viewer) {
    box.hidden = true;
    document.getElementById("viewer-problem").textContent =
      "This browser has no WebGL, which the three-dimensional view needs.";
    return;
  }
  const add = (pdb, style) => {
    const model = viewer.addModel(pdb, "pdb");
    model.setStyle({}, style);
    return model;
  };
  add(data.query, { cartoon: { color: "#9aa4ae", opacity: 0.8 } });
  const templates = data.templates.map((template) => add(template.pdb, {
    cartoon: { color: template.colour, style: template.trace ? "trace" : "rectangle" },
  }));
  // As near as a wide window allows: it fits what is turned any way into the shorter side.
  const all = () => {
    viewer.zoomTo();
    if (box.clientWidth > 700) viewer.zoom(1.6);
  };
  all();
  viewer.render();

  for (const input of document.querySelectorAll("input[data-template]")) {
    const model = templates[Number(input.dataset.template)];
    input.addEventListener("change", () => {
      if (input.checked) model.show(); else model.hide();
      viewer.render();
    });
  }
  for (const button of document.querySelectorAll(".viewer-controls button")) {
    button.addEventListener("click", () => {
      const { turn, zoom } = button.dataset;
      if (turn) {
        const [axis, angle] = turn.split(":");
        viewer.rotate(Number(angle), axis);
      } else if (zoom) {
        viewer.zoom(Number(zoom));
      } else {
        all();
      }
      viewer.render();
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    viewer.setBackgroundColor(background());
    viewer.render();
  });
})();
