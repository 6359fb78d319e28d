import { useId, type KeyboardEvent, type ReactNode } from "react";

interface Tab {
  name: string;
  label: string;
}

interface Props {
  tabs: Tab[];
  current: string;
  onSelect: (name: string) => void;
  children: ReactNode;
  label: string;
}

/** Tabs and the panel of the current one. Arrow keys move between them. */
export function Tabs({ tabs, current, onSelect, children, label }: Props) {
  const id = useId();
  function onKeyDown(event: KeyboardEvent) {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    const index = tabs.findIndex((tab) => tab.name === current);
    const next = tabs[(index + by + tabs.length) % tabs.length];
    if (!next) return;
    onSelect(next.name);
    document.getElementById(`${id}-${next.name}`)?.focus();
  }
  return (
    <>
      <div className="tabs" role="tablist" aria-label={label} onKeyDown={onKeyDown}>
        {tabs.map((tab) => (
          <button
            key={tab.name}
            id={`${id}-${tab.name}`}
            type="button"
            role="tab"
            aria-selected={tab.name === current}
            aria-controls={`${id}-panel`}
            tabIndex={tab.name === current ? 0 : -1}
            onClick={() => { onSelect(tab.name); }}
          >
            {tab.label}
          </button>
        ))}
      </div>
      <div role="tabpanel" id={`${id}-panel`} aria-labelledby={`${id}-${current}`} className="tab-panel">
        {children}
      </div>
    </>
  );
}
