// The theme and the switch to a logarithmic axis. Without any script, the page is complete.
"use strict";
const captune = {};
(() => {
  const root = document.documentElement;
  const remember = (value) => { try { sessionStorage.setItem("captune-theme", value); } catch { /* some browsers forbid this for files */ } };
  const recall = () => { try { return sessionStorage.getItem("captune-theme"); } catch { return null; } };
  const forced = recall() || new URLSearchParams(location.search).get("theme");
  if (forced === "dark" || forced === "light") root.dataset.theme = forced;

  for (const button of document.querySelectorAll("[data-theme-switch]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
      root.dataset.theme = (root.dataset.theme || system) === "dark" ? "light" : "dark";
      remember(root.dataset.theme);
    });
  }

  for (const figure of document.querySelectorAll("[data-log-switch]")) {
    const label = figure.querySelector(".switch");
    if (!label) continue;
    label.hidden = false;
    label.querySelector("input").addEventListener("change", (event) => {
      figure.querySelector("[data-linear]").hidden = event.target.checked;
      figure.querySelector("[data-log]").hidden = !event.target.checked;
    });
  }
})();
