"""The Hugging Face Hub's read protocol, for clients that know nothing of us: `HF_ENDPOINT` is all they are told.

What the clients ask for and rely on was read in their code and run; the rules that must hold, by number:
(1) a revision of 40 hex is answered with itself as `X-Repo-Commit`: each version has exactly one such id;
(2) what a commit holds never changes: clients keep listing and files for ever;
(3) no redirects: the token would be lost on the way, or `X-Repo-Commit`;
(4) no trace of Xet: no header, no field, no token route that answers;
(5) a file above 50 GB has no length in HEAD: the client refuses to download what it knows to be larger;
(6) one range at a time is served; a client resumes within one call and never across two;
(7) `ETag` is the file's SHA-256, which the client does not check: what leaves here was checked here;
(8) withdrawn is 404 `RevisionNotFound`: at any other answer the client goes on with what it has in its cache.

Source: research registries.md section 2.1.
"""
