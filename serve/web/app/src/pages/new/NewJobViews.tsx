import type { ReactNode } from "react";

/** The form and the text of a config. The form stays there behind the text: it may be uploading a file. */
export function NewJobViews({ isText, form, text }: { isText: boolean; form: ReactNode; text: ReactNode }) {
  return (
    <div className="new-parts">
      <div hidden={isText}>{form}</div>
      {isText && text}
    </div>
  );
}
