// The month as a calendar. The table stays for those who read it better; without this script it is all there is.
const box = document.getElementById("calendar");
if (box && window.FullCalendar) {
  box.hidden = false;
  document.getElementById("month-table").open = false;
  const zone = box.dataset.zone;
  const query = zone === "UTC" ? "" : `?timezone=${encodeURIComponent(zone)}`;
  const shown = (event) => ({
    title: event.title,
    start: event.start,
    allDay: true,
    url: `/calendar/${event.start}${query}`,
    classNames: [`state-${event.state}`],
  });
  new FullCalendar.Calendar(box, {
    initialView: "dayGridMonth",
    initialDate: box.dataset.first,
    firstDay: 1,
    headerToolbar: false,
    height: "auto",
    fixedWeekCount: false,
    showNonCurrentDates: false,
    displayEventTime: false,
    events: JSON.parse(box.dataset.events).map(shown),
  }).render();
}
