import { lazy, Suspense, useState } from "react";
import type { Job } from "../api/client";
import { Button } from "../ui/Button";

const ResumeDialog = lazy(() => import("./ResumeDialog"));

interface Props {
  job: Job;
  /** Name of the checkpoint that is chosen first. */
  checkpoint?: string;
  label?: string;
  look?: "plain" | "primary";
}

export function ResumeButton({ job, checkpoint, label = "Resume", look = "primary" }: Props) {
  const [isOpen, setOpen] = useState(false);
  return (
    <>
      <Button look={look} icon="play" onClick={() => { setOpen(true); }}>{label}</Button>
      {isOpen && (
        <Suspense fallback={null}>
          <ResumeDialog job={job} checkpoint={checkpoint} onClose={() => { setOpen(false); }} />
        </Suspense>
      )}
    </>
  );
}
