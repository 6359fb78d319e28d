import { useState } from "react";
import { Link } from "../router/Link";
import type { PageRoute } from "../router/pages";
import { usePath } from "../router/router";
import { toggleTheme, useIsDark } from "../theme/theme";
import { IconButton } from "../ui/Button";
import { Icon } from "../ui/Icon";
import { Account } from "./Account";
import { Bell } from "./Bell";

/** The pages: a column on the left, on narrow screens a menu at the top. */
export function Navigation({ pages, onHelp }: { pages: PageRoute[]; onHelp: () => void }) {
  const [isOpen, setOpen] = useState(false);
  const path = usePath();
  const isDark = useIsDark();
  return (
    <header className="side">
      <div className="side-head">
        <Link to="/" className="brand">
          <img src="/icon.svg" alt="" width="24" height="24" />
          FineTune Lab
        </Link>
        <Bell onOpen={() => { setOpen(false); }} />
        <IconButton
          className="side-toggle"
          label="Menu"
          icon={isOpen ? "close" : "menu"}
          aria-expanded={isOpen}
          onClick={() => { setOpen(!isOpen); }}
        />
      </div>
      <nav aria-label="Pages" className={isOpen ? "side-nav side-open" : "side-nav"}>
        <ul>
          {pages.map((page) => (
            <li key={page.path}>
              <Link
                to={page.path}
                aria-current={isCurrent(page.path, path) ? "page" : undefined}
                onClick={() => { setOpen(false); }}
              >
                <Icon name={page.nav?.icon ?? ""} />
                {page.nav?.label}
              </Link>
            </li>
          ))}
        </ul>
        <Account />
        <div className="side-foot">
          <IconButton label={isDark ? "Light theme" : "Dark theme"} icon="theme" onClick={toggleTheme} />
          <IconButton label="Keyboard shortcuts" icon="help" onClick={onHelp} />
          <a href="/docs" className="small">API</a>
        </div>
      </nav>
    </header>
  );
}

function isCurrent(page: string, path: string): boolean {
  if (page === "/") return path === "/" || path === "/jobs" || path.startsWith("/jobs/");
  return path === page || path.startsWith(`${page}/`);
}
