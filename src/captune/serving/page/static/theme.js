// Runs before the page is drawn, so that a chosen dark page does not flash white.
let chosen = null;
try {
  chosen = localStorage.getItem("captune-theme");
} catch {
  // Storage may be blocked; the system's scheme is used.
}
if (chosen) document.documentElement.dataset.theme = chosen;
