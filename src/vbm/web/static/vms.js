// The folders are open beside the table, and closed above it where there is little room.
const folders = document.querySelector("[data-open-wide]");
if (folders && window.matchMedia("(min-width: 992px)").matches) folders.open = true;
// A changed age filters at once.
const older = document.getElementById("older");
older?.addEventListener("change", () => older.form.requestSubmit());
