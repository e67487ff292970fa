"""A local proxy for apps that only know a cloud API: it converts every image and forwards nothing that it does not
understand.

A request is never edited: it is read, and a new one is built from payloads and short plain text. What cannot be read,
and whatever goes wrong, is an answer to the app, and nothing is sent. Nothing is written to disk or to a log of what
apps send.

`images` converts, `plain` says what may pass as it is, `json_body`, `multipart` and `tensors` read and rebuild bodies,
`rewrite` chooses among them, `upstream` sends and receives, `app` joins them, `running` starts all that from a release.
"""
