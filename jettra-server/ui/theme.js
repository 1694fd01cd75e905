// Light or dark before the first paint: the choice that was made here, else the system's.
try {
  const chosen = localStorage.getItem("jettra-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch { /* storage is closed to this page: the system's choice it is */ }
