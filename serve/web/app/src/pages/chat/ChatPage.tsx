import { useInfiniteQuery } from "@tanstack/react-query";
import { useEffect, useState, type SyntheticEvent } from "react";
import { modelListQuery, type TunedModel } from "../../api/models";
import { recordsOf } from "../../api/pages";
import { useTitle } from "../../app/useTitle";
import { Link } from "../../router/Link";
import { useQueryState } from "../../router/router";
import { Button } from "../../ui/Button";
import { EmptyState, ErrorNote, Loading } from "../../ui/Notes";
import { useConversation, type Answer, type Turn } from "./useConversation";
import "./chat.css";

/** The same questions to a tuned model and to its base model, side by side. */
export default function ChatPage() {
  useTitle("Chat");
  const list = useInfiniteQuery(modelListQuery);
  const [query, change] = useQueryState();
  const models = recordsOf(list.data);
  const wanted = query.get("model");
  // Never another model than the address names.
  const chosen = wanted === null ? models[0] : models.find((model) => model.id === wanted);
  const isMissing = list.isSuccess && wanted !== null && !chosen;
  const { fetchNextPage, hasNextPage, isFetching } = list;
  useEffect(() => {
    if (isMissing && hasNextPage && !isFetching) void fetchNextPage();
  }, [isMissing, hasNextPage, isFetching, fetchNextPage]);
  return (
    <>
      <div className="page-head">
        <h1>Chat</h1>
        {models.length > 0 && (
          <label className="chat-model">
            <span>Tuned model</span>
            <select value={chosen?.id ?? ""} onChange={(event) => { change({ model: event.target.value }); }}>
              {!chosen && <option value="">Choose a model</option>}
              {models.map((model) => <option key={model.id} value={model.id}>{model.name} ({model.id})</option>)}
            </select>
          </label>
        )}
      </div>
      {list.isPending && <Loading lines={6} />}
      {list.isError && <ErrorNote error={list.error} retry={() => void list.refetch()} />}
      {isMissing && !hasNextPage && models.length > 0 && (
        <div className="note note-bad" role="alert">
          <p>There is no tuned model <code>{wanted}</code>; it may have been deleted. Choose another one above.</p>
        </div>
      )}
      {list.isSuccess && models.length === 0 && (
        <EmptyState title="No tuned models yet">
          <p>
            Here a tuned model answers beside its base model. <Link to="/new">Submit a job</Link> to get the first one.
          </p>
        </EmptyState>
      )}
      {chosen && <Conversation model={chosen} />}
    </>
  );
}

function Conversation({ model }: { model: TunedModel }) {
  const { turns, ask, isBusy } = useConversation([`model:${model.id}`, model.base_model]);
  const names = [model.name, model.base_model];
  return (
    <section aria-label="Conversation" className="chat">
      {turns.length === 0 && (
        <p className="muted">
          {model.name} answers beside its base model, {model.base_model}. The first answer takes as long as the model
          takes to load.
        </p>
      )}
      <ol className="chat-turns" aria-live="polite">
        {turns.map((turn, index) => <TurnView key={index} turn={turn} names={names} />)}
      </ol>
      <Composer onSend={ask} isBusy={isBusy} />
    </section>
  );
}

function TurnView({ turn, names }: { turn: Turn; names: string[] }) {
  return (
    <li>
      <p className="chat-question">{turn.question}</p>
      <div className="chat-answers">
        {turn.answers.map((answer, column) => (
          <article key={column} className="panel" aria-label={`Answer of ${names[column] ?? ""}`}>
            <h2 className="small muted">{column === 0 ? "Tuned" : "Base"}: {names[column]}</h2>
            <AnswerView answer={answer} />
          </article>
        ))}
      </div>
    </li>
  );
}

function AnswerView({ answer }: { answer: Answer }) {
  return (
    <>
      {answer.text && <p className="chat-text">{answer.text}</p>}
      {answer.note && <p className="muted small">{answer.note}</p>}
      {!answer.text && !answer.note && <p className="muted small">{answer.isOver ? "The answer is empty." : "..."}</p>}
    </>
  );
}

function Composer({ onSend, isBusy }: { onSend: (question: string) => void; isBusy: boolean }) {
  const [text, setText] = useState("");
  function send(event: SyntheticEvent) {
    event.preventDefault();
    const question = text.trim();
    if (question === "" || isBusy) return;
    onSend(question);
    setText("");
  }
  return (
    <form className="chat-composer" onSubmit={send}>
      <label>
        <span className="visually-hidden">Message</span>
        <textarea
          rows={3}
          value={text}
          placeholder="Ask both models"
          onChange={(event) => { setText(event.target.value); }}
          onKeyDown={(event) => { if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) send(event); }}
        />
      </label>
      <Button type="submit" look="primary" disabled={isBusy || text.trim() === ""}>Send</Button>
    </form>
  );
}
