// Runs before the page is drawn, so that a chosen dark page does not flash white.
let chosen = null;
try {
  chosen = localStorage.getItem("captune-theme");
} catch {
  // Storage may be blocked; then the system's color scheme is used.
}
if (chosen) document.documentElement.dataset.theme = chosen;
