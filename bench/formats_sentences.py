"""Why a real folder gives another number of traces than conversations were expected in it."""

SENTENCES: dict[str, str] = {
    "agent-cli-sessions": "Compactions, rewound prompts and sub-agents make several traces of a "
    "log; logs in which only a user speaks are rejects",
    "claude-code-session": "A session gives a trace for each path from a root of its graph to a "
    "leaf, so forks and restarts count more than once",
    "gemini-generate-content": "One candidate has no content",
    "harbor-atif": "One run was summarised midway; a compaction is a cut into two traces",
    "langfuse-trace": "In one export a second call of the model has a prompt of its own",
    "nemo-skills": "Ten records are verdicts of a judge without the answers, two are questions "
    "without an answer",
    "openai-responses-api": "Exchanges that share a conversation, or whose input begins with what "
    "an earlier one said, are one trace too; three replies were still queued",
    "openhands-events": "One log begins in the middle of its session: no task stands in it",
    "otel-genai-spans": "The operation and the call inside of it were exported under two trace "
    "ids; the second gives an equal trace, which is a duplicate later on",
    "parquet": "Three rows hold a single word each",
    "tau2-bench": "The one simulation is of speech whose words were not written down",
    "toolbench": "The evaluation file has its steps cut at a number of characters",
    "vcr-cassettes": "Exchanges that go on from one another are one trace",
    "vscode-chatreplay": "Requests that go on from one another, word for word, are one "
    "conversation; another system prompt begins one of its own",
    "who-and-when-multiagent": "The first entry is the task that the manager hands out, whoever it "
    "is named after: four of these names say nothing else",
}
