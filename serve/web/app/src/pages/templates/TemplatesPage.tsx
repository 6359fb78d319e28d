import { useQuery } from "@tanstack/react-query";
import { templateListQuery, type TemplateSummary } from "../../api/templates";
import { useTitle } from "../../app/useTitle";
import { Link } from "../../router/Link";
import { ErrorNote, Loading } from "../../ui/Notes";
import "../records.css";
import "./templates.css";

/** Settings to start from: those of the service, and one's own. */
export default function TemplatesPage() {
  useTitle("Templates");
  const list = useQuery(templateListQuery);
  const own = list.data?.filter(({ owner }) => owner) ?? [];
  const builtIn = list.data?.filter(({ owner }) => !owner) ?? [];
  return (
    <>
      <div className="page-head">
        <h1>Templates</h1>
      </div>
      {list.isPending && <Loading lines={8} />}
      {list.isError && <ErrorNote error={list.error} retry={() => void list.refetch()} />}
      {list.isSuccess && (
        <div className="parts">
          <section aria-labelledby="own-title">
            <h2 id="own-title">Yours</h2>
            {own.length > 0 ? (
              <Cards templates={own} />
            ) : (
              <p className="muted">
                None yet. Make the settings of a <Link to="/new">new job</Link>, and save them as a template there.
              </p>
            )}
          </section>
          <section aria-labelledby="built-in-title">
            <h2 id="built-in-title">Built in</h2>
            <Cards templates={builtIn} />
          </section>
        </div>
      )}
    </>
  );
}

function Cards({ templates }: { templates: TemplateSummary[] }) {
  return (
    <ul className="templates">
      {templates.map(({ name, description }) => (
        <li key={name} className="panel template">
          <Link to={`/templates/${name}`}>{name}</Link>
          <p className="muted small">{description || "Without a description."}</p>
          <Link className="button" to={`/new?template=${encodeURIComponent(name)}`} aria-label={`Use the template ${name}`}>Use</Link>
        </li>
      ))}
    </ul>
  );
}
