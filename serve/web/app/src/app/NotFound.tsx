import { Link } from "../router/Link";
import { EmptyState } from "../ui/Notes";
import { useTitle } from "./useTitle";

export function NotFound() {
  useTitle("Not found");
  return (
    <EmptyState title="There is no page at this address">
      <p>
        Go to the <Link to="/">jobs</Link>.
      </p>
    </EmptyState>
  );
}
