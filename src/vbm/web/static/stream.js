// Server-sent events that outlive the server: the browser reconnects with Last-Event-ID while the line is cut; where
// an answer ends the stream for good (a restart behind a proxy, an error page), it is opened anew, later and later,
// and not by all pages at the same moment. `url` may be a function: it is asked each time it is opened.

export function stream(url, handlers, state = () => {}) {
  let source = null;
  let wait = 1000;
  let last = 0;
  let over = false;
  let timer = 0;

  const open = () => {
    source = new EventSource(typeof url === "function" ? url() : url);
    source.onopen = () => {
      wait = 1000;
      state("open");
    };
    source.onerror = () => {
      if (over) return;
      state("lost", source.readyState === EventSource.CLOSED);
      if (source.readyState === EventSource.CLOSED) {
        timer = setTimeout(open, wait * (0.75 + Math.random() / 2));
        wait = Math.min(wait * 2, 30000);
      }
    };
    for (const [name, handle] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => {
        if (over) return;
        const id = Number(event.lastEventId || 0);
        if (name === "log" && id <= last) return; // told before the line was cut
        if (name === "log") last = id;
        handle(JSON.parse(event.data), event.lastEventId);
      });
    }
  };
  const close = () => {
    over = true;
    clearTimeout(timer);
    source?.close();
  };
  open();
  window.addEventListener("pagehide", close, { once: true });
  return close;
}
