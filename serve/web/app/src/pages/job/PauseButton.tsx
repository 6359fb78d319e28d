import { lazy, Suspense, useState } from "react";
import type { Job } from "../../api/client";
import { Button } from "../../ui/Button";

const JobDialog = lazy(() => import("../../jobs/JobDialog"));

export function PauseButton({ job }: { job: Job }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <>
      <Button icon="pause" onClick={() => { setOpen(true); }}>Pause</Button>
      {isOpen && (
        <Suspense fallback={null}>
          <JobDialog job={job} asked="pause" onClose={() => { setOpen(false); }} onDeleted={undefined} />
        </Suspense>
      )}
    </>
  );
}
