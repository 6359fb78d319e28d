/** One question at a time to several models, each with the conversation that it had so far. */
import { useEffect, useRef, useState } from "react";
import { streamAnswer, type Message } from "../../api/chat";

export interface Answer {
  text: string;
  /** What the answer waits for, or why there is none. */
  note: string | null;
  isOver: boolean;
}

export interface Turn {
  question: string;
  /** One for each model, in their order. */
  answers: Answer[];
}

const WAITING: Answer = { text: "", note: null, isOver: false };

export function useConversation(models: string[]) {
  const [turns, setTurns] = useState<Turn[]>([]);
  const running = useRef(new AbortController());
  const names = models.join("\n");
  // Another choice of models begins a new conversation, and so does leaving the page.
  useEffect(() => {
    running.current = new AbortController();
    const ended = running.current;
    return () => {
      ended.abort();
      setTurns([]);
    };
  }, [names]);

  function change(turn: number, column: number, changes: (answer: Answer) => Partial<Answer>) {
    setTurns((before) =>
      before.map((each, index) =>
        index !== turn
          ? each
          : { ...each, answers: each.answers.map((answer, at) => (at === column ? { ...answer, ...changes(answer) } : answer)) },
      ),
    );
  }

  function ask(question: string) {
    const turn = turns.length;
    setTurns([...turns, { question, answers: models.map(() => WAITING) }]);
    models.forEach((model, column) => {
      void answer(model, [...messagesOf(turns, column), { role: "user", content: question }], turn, column);
    });
  }

  async function answer(model: string, messages: Message[], turn: number, column: number) {
    const { signal } = running.current;
    try {
      const pieces = streamAnswer(model, messages, signal, (note) => { change(turn, column, () => ({ note })); });
      for await (const piece of pieces) change(turn, column, ({ text }) => ({ text: text + piece, note: null }));
      change(turn, column, () => ({ isOver: true }));
    } catch (error) {
      if (signal.aborted) return;
      change(turn, column, () => ({ note: error instanceof Error ? error.message : String(error), isOver: true }));
    }
  }

  const isBusy = turns.some((turn) => turn.answers.some((each) => !each.isOver));
  return { turns, ask, isBusy };
}

function messagesOf(turns: Turn[], column: number): Message[] {
  return turns.flatMap(({ question, answers }): Message[] => {
    const said = answers[column]?.text;
    // A question without an answer is left out: the next one would be a second message of the user.
    return said ? [{ role: "user", content: question }, { role: "assistant", content: said }] : [];
  });
}
