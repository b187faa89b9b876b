// Shows the fields that belong to the schedule that is chosen.

const chooser = document.querySelector("[data-shows]");

function show() {
  for (const part of document.querySelectorAll("[data-for]")) {
    part.hidden = !part.dataset.for.split(" ").includes(chooser.value);
  }
}

if (chooser) {
  chooser.addEventListener("change", show);
  show();
  const zone = document.getElementById("f-timezone");
  const fresh = location.pathname === "/jobs/new" && zone?.value === "UTC";
  if (fresh) zone.value = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
}
