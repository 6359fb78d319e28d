import { Dialog } from "../ui/Dialog";
import { setShortcutsOff, shortcuts, useShortcutsOff } from "./keys";

const NAMES: Record<string, string> = { " ": "Space", Enter: "Enter", Escape: "Esc", ArrowUp: "↑", ArrowDown: "↓" };

/** The shortcuts of the page that is shown. */
export function KeyHelp({ onClose }: { onClose: () => void }) {
  const isOff = useShortcutsOff();
  return (
    <Dialog title="Keyboard" onClose={onClose}>
      <dl className="keys">
        {shortcuts().map(({ keys, label }) => (
          <div key={keys}>
            <dt>
              {(keys === " " ? [keys] : keys.split(" ")).map((key) => (
                <kbd key={key}>{NAMES[key] ?? key}</kbd>
              ))}
            </dt>
            <dd>{label}</dd>
          </div>
        ))}
      </dl>
      <label className="check">
        <input type="checkbox" checked={!isOff} onChange={(event) => { setShortcutsOff(!event.target.checked); }} />
        Single-key shortcuts
      </label>
    </Dialog>
  );
}
