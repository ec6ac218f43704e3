// Before the first paint: the chosen colours, and the word that there is a script at all.
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const chosen = localStorage.getItem("tidegate-theme");
  if (chosen === "dark" || chosen === "light") root.dataset.theme = chosen;
})();
