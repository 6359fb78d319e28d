const PATHS: Record<string, string> = {
  jobs: "M4 6h16M4 12h16M4 18h10",
  queue: "M8 6h12M8 12h12M8 18h12M4 6h.01M4 12h.01M4 18h.01",
  node: "M4 5h16v6H4zM4 13h16v6H4zM8 8h.01M8 16h.01",
  compare: "M4 18c4-10 6 2 9-5s4-7 7-8M4 10c5 6 10 8 16 8",
  sweep: "M5 4v16M12 4v16M19 4v16M5 8l7 8 7-9M5 15l7-5 7 6",
  new: "M12 5v14M5 12h14",
  data: "M4 6c0-1.7 3.6-3 8-3s8 1.3 8 3-3.6 3-8 3-8-1.3-8-3zM4 6v12c0 1.7 3.6 3 8 3s8-1.3 8-3V6M4 12c0 1.7 3.6 3 8 3s8-1.3 8-3",
  model: "M12 3l8 4.5v9L12 21l-8-4.5v-9zM12 12l8-4.5M12 12v9M12 12L4 7.5",
  chat: "M4 5h16v11H9l-5 4z",
  costs: "M12 3v18M16.5 7.5C16 6 14.3 5 12 5c-2.6 0-4.5 1.3-4.5 3.3 0 4.7 9.3 2.3 9.3 7.2 0 2.2-2 3.5-4.8 3.5-2.6 0-4.5-1.2-5-3",
  template: "M4 4h16v5H4zM4 13h7v7H4zM15 13h5v7h-5z",
  disk: "M4 14h16v5H4zM4 14l3-9h10l3 9M8 16.5h.01",
  key: "M11 15.5a4.5 4.5 0 1 1-4.5-4.5 4.5 4.5 0 0 1 4.5 4.5zM10 12l9-9M15 7l3 3M18 4l2 2",
  bell: "M6 16.5V11a6 6 0 0 1 12 0v5.5l1.5 1.5h-15zM10 20.5h4",
  check: "M5 12.5l4.5 4.5L19 7.5",
  theme: "M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18",
  help: "M9.5 9.5a2.5 2.5 0 1 1 3.5 2.3c-.8.4-1 .9-1 1.7M12 17h.01M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  menu: "M4 7h16M4 12h16M4 17h16",
  close: "M6 6l12 12M18 6L6 18",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM20 20l-4-4",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  external: "M14 4h6v6M20 4l-9 9M18 14v5a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1V7a1 1 0 0 1 1-1h5",
  up: "M12 19V5M6 11l6-6 6 6",
  down: "M12 5v14M6 13l6 6 6-6",
  grip: "M9 6h.01M15 6h.01M9 12h.01M15 12h.01M9 18h.01M15 18h.01",
  back: "M15 5l-7 7 7 7",
  pause: "M9 5v14M15 5v14",
  play: "M8 5l11 7-11 7z",
  reset: "M5 5v5h5M5.5 10a7 7 0 1 1-.6 5",
  stop: "M7 7h10v10H7z",
};

/** A line drawing of 20 pixels; decoration, so its name is never read out. */
export function Icon({ name }: { name: string }) {
  return (
    <svg className="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name] ?? ""} />
    </svg>
  );
}
