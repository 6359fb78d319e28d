import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { discardUpload, uploadListQuery } from "../../api/datasets";
import type { Upload } from "../../upload/upload";
import { ago, bytes } from "../../format/format";
import { Button } from "../../ui/Button";
import { ConfirmDialog } from "../../ui/ConfirmDialog";

/** Uploads that broke off. The same file, chosen again, continues where it stopped. */
export function OpenUploads() {
  const client = useQueryClient();
  const uploads = useQuery({ ...uploadListQuery, staleTime: 0 });
  const [asked, setAsked] = useState<Upload | null>(null);
  if (!uploads.data?.length) return null;
  return (
    <section className="panel part" aria-labelledby="uploads-title">
      <h2 id="uploads-title">Uploads that are not complete</h2>
      <p className="muted small">Choose the same file again: the upload continues where it stopped.</p>
      <ul className="uploads">
        {uploads.data.map((upload) => (
          <li key={upload.id}>
            <span>
              <strong>{upload.filename}</strong>
              <span className="muted small numeric">
                {bytes(upload.received_bytes)} of {bytes(upload.size_bytes)}, started {ago(upload.created_at)}
              </span>
            </span>
            <Button look="ghost" onClick={() => { setAsked(upload); }}>Discard…</Button>
          </li>
        ))}
      </ul>
      {asked && (
        <ConfirmDialog
          title={`Discard the upload of ${asked.filename}?`}
          confirm="Discard it"
          keep="Keep it"
          onClose={() => { setAsked(null); }}
          action={async () => {
            await discardUpload(asked.id);
            await client.invalidateQueries(uploadListQuery);
          }}
        >
          <p>The {bytes(asked.received_bytes)} that were received are removed.</p>
        </ConfirmDialog>
      )}
    </section>
  );
}
