import { useQuery } from "@tanstack/react-query";
import { unreadQuery } from "../api/notifications";
import { Link } from "../router/Link";
import { usePath } from "../router/router";
import { Icon } from "../ui/Icon";

const MOST = 99;

/** The number of unread notifications; leads to their page. */
export function Bell({ onOpen }: { onOpen: () => void }) {
  const { data: unread = 0 } = useQuery(unreadQuery);
  const isHere = usePath() === "/notifications";
  const label = unread ? `Notifications, ${String(unread)} unread` : "Notifications";
  return (
    <Link
      to="/notifications"
      className="icon-button bell"
      aria-label={label}
      title={label}
      aria-current={isHere ? "page" : undefined}
      onClick={onOpen}
    >
      <Icon name="bell" />
      {unread > 0 && <span className="bell-count" aria-hidden="true">{unread > MOST ? `${String(MOST)}+` : unread}</span>}
    </Link>
  );
}
