import { useQuery } from "@tanstack/react-query";
import { Suspense, useEffect, useLayoutEffect, useRef, useState } from "react";
import { sessionQuery } from "../api/session";
import { LiveProvider } from "../live/LiveProvider";
import { PAGES } from "../pages";
import { findPage } from "../router/pages";
import { navigate, usePath } from "../router/router";
import { toggleTheme } from "../theme/theme";
import { Loading } from "../ui/Notes";
import { ErrorBoundary } from "./ErrorBoundary";
import { KeyHelp } from "./KeyHelp";
import { handleKey, useShortcuts } from "./keys";
import { LinkBanner } from "./LinkBanner";
import { Navigation } from "./Navigation";
import { NotFound } from "./NotFound";
import { SignIn } from "./SignIn";

const NAVIGATION = PAGES.filter((page) => page.nav).sort((a, b) => (a.nav?.order ?? 0) - (b.nav?.order ?? 0));

/** Asks who the caller is first. A service that cannot say so is shown as usual: its pages say what is wrong. */
export function App() {
  const { data: session, isPending, failureCount } = useQuery(sessionQuery);
  if (isPending && failureCount === 0) return null;
  return session === null ? <SignIn /> : <Shell />;
}

function Shell() {
  const [hasHelp, setHelp] = useState(false);
  useGlobalKeys(() => { setHelp(true); });
  return (
    <LiveProvider>
      <a className="skip" href="#main">Skip to the content</a>
      <div className="shell">
        <Navigation pages={NAVIGATION} onHelp={() => { setHelp(true); }} />
        <main id="main" tabIndex={-1}>
          <LinkBanner />
          <CurrentPage />
        </main>
      </div>
      {hasHelp && <KeyHelp onClose={() => { setHelp(false); }} />}
    </LiveProvider>
  );
}

function CurrentPage() {
  const path = usePath();
  const found = findPage(PAGES, path);
  useFocusOnNavigation(path);
  if (!found) return <NotFound />;
  const Page = found.page.component;
  return (
    <ErrorBoundary key={path}>
      <Suspense fallback={<Loading />}>
        <Page params={found.params} />
      </Suspense>
    </ErrorBoundary>
  );
}

/** Screen readers follow the focus: after a navigation it is on the new page, not on a link that is gone. */
function useFocusOnNavigation(path: string) {
  const before = useRef(path);
  useEffect(() => {
    if (before.current === path) return;
    before.current = path;
    window.scrollTo(0, 0);
    document.getElementById("main")?.focus({ preventScroll: true });
  }, [path]);
}

function useGlobalKeys(onHelp: () => void) {
  useShortcuts([
    ...NAVIGATION.map((page) => ({
      keys: `g ${page.nav?.key ?? ""}`,
      label: `Go to ${page.nav?.label ?? ""}`,
      run: () => { navigate(page.path); },
    })),
    { keys: "t", label: "Switch between light and dark", run: toggleTheme },
    { keys: "?", label: "Show this list", run: onHelp },
  ]);
  useLayoutEffect(() => {
    document.addEventListener("keydown", handleKey);
    return () => { document.removeEventListener("keydown", handleKey); };
  }, []);
}
