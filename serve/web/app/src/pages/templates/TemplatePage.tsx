import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { deleteTemplate, saveTemplate, templateKeys, templateQuery, type Template } from "../../api/templates";
import { useTitle } from "../../app/useTitle";
import { Link } from "../../router/Link";
import type { PageProps } from "../../router/pages";
import { navigateFrom } from "../../router/router";
import { Button } from "../../ui/Button";
import { ConfirmDialog } from "../../ui/ConfirmDialog";
import { ErrorNote, Loading } from "../../ui/Notes";
import "../records.css";
import "./templates.css";

/** One template as text; one's own can be changed. */
export default function TemplatePage({ params }: PageProps) {
  const name = params["name"] ?? "";
  useTitle(name);
  const template = useQuery(templateQuery(name));
  // Text that is being changed stays when the service cannot be asked again.
  if (template.data) return <Shown key={template.data.name} template={template.data} />;
  if (template.isError) return <ErrorNote error={template.error} retry={() => void template.refetch()} />;
  return <Loading lines={8} />;
}

function Shown({ template }: { template: Template }) {
  const client = useQueryClient();
  const [typed, setTyped] = useState<string | null>(null);
  const text = typed ?? template.text;
  const [isAsked, setAsked] = useState(false);
  const isOwn = Boolean(template.owner);
  const saving = useMutation({
    mutationFn: (sent: string) => saveTemplate(template.name, sent),
    onSuccess: (saved, sent) => {
      client.setQueryData(templateKeys.one(template.name), saved);
      setTyped((now) => (now === sent ? null : now));
      return client.invalidateQueries({ queryKey: templateKeys.list });
    },
  });
  return (
    <>
      <div className="page-head">
        <div className="page-title">
          <h1>{template.name}</h1>
          <p className="muted">{isOwn ? "Your template" : "Built in: use it, and save your changes under another name"}</p>
        </div>
        {isOwn && <Button onClick={() => { setAsked(true); }}>Delete…</Button>}
        {isOwn && <Button disabled={text === template.text || text.trim() === "" || saving.isPending} onClick={() => { saving.mutate(text); }}>Save the changes</Button>}
        <Link className="button button-primary" to={`/new?template=${encodeURIComponent(template.name)}`}>Use it</Link>
      </div>
      <div className="parts">
        {saving.error && <ErrorNote error={saving.error} />}
        <textarea
          className="template-text mono"
          aria-label={`Text of ${template.name}`}
          readOnly={!isOwn}
          spellCheck={false}
          rows={text.split("\n").length + 1}
          value={text}
          onChange={(event) => { setTyped(event.target.value); }}
        />
      </div>
      {isAsked && (
        <ConfirmDialog
          title={`Delete the template ${template.name}?`}
          confirm="Delete the template"
          keep="Keep it"
          onClose={() => { setAsked(false); }}
          action={async () => {
            const from = window.location.pathname;
            await deleteTemplate(template.name);
            await client.invalidateQueries({ queryKey: templateKeys.list });
            navigateFrom(from, "/templates");
          }}
        >
          <p>Jobs that were made from it stay as they are. This cannot be undone.</p>
        </ConfirmDialog>
      )}
    </>
  );
}
