// The month as a calendar. The table below it stays for those who read it better.
const box = document.getElementById("calendar");
if (box && window.FullCalendar) {
  const zone = box.dataset.zone;
  const query = !zone ? "" : `?timezone=${encodeURIComponent(zone)}`;
  const narrow = window.matchMedia("(max-width: 767.98px)").matches;
  const shown = (event) => ({
    title: narrow ? event.short : event.title,
    extendedProps: { words: event.title },
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
    eventDidMount: ({ el, event }) => {
      el.title = event.extendedProps.words;
      el.setAttribute("aria-label", `${event.startStr}: ${event.extendedProps.words}`);
    },
    events: JSON.parse(box.dataset.events).map(shown),
  }).render();
} else if (box) {
  box.hidden = true;
  document.getElementById("month-table").open = true;
}
