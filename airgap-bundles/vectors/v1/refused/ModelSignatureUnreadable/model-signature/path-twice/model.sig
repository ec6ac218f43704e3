{
  "dsseEnvelope": {
    "payload": "ewogICJfdHlwZSI6ICJodHRwczovL2luLXRvdG8uaW8vU3RhdGVtZW50L3YxIiwKICAicHJlZGljYXRlIjogewogICAgInJlc291cmNlcyI6IFsKICAgICAgewogICAgICAgICJhbGdvcml0aG0iOiAic2hhMjU2IiwKICAgICAgICAiZGlnZXN0IjogImI3OTYwNmZiM2FmZWE1YmQxNjA5ZWQ0MGI2MjIxNDJmMWM5ODEyNWFiY2ZlODlhNzZhNjYxYjBlOGUzNDM5MTAiLAogICAgICAgICJuYW1lIjogImNvbmZpZy5qc29uIgogICAgICB9LAogICAgICB7CiAgICAgICAgImFsZ29yaXRobSI6ICJzaGEyNTYiLAogICAgICAgICJkaWdlc3QiOiAiYjc5NjA2ZmIzYWZlYTViZDE2MDllZDQwYjYyMjE0MmYxYzk4MTI1YWJjZmU4OWE3NmE2NjFiMGU4ZTM0MzkxMCIsCiAgICAgICAgIm5hbWUiOiAiY29uZmlnLmpzb24iCiAgICAgIH0KICAgIF0sCiAgICAic2VyaWFsaXphdGlvbiI6IHsKICAgICAgImFsbG93X3N5bWxpbmtzIjogZmFsc2UsCiAgICAgICJoYXNoX3R5cGUiOiAic2hhMjU2IiwKICAgICAgImlnbm9yZV9wYXRocyI6IFsKICAgICAgICAiLmdpdCIsCiAgICAgICAgIi5naXRhdHRyaWJ1dGVzIiwKICAgICAgICAiLmdpdGh1YiIsCiAgICAgICAgIi5naXRpZ25vcmUiCiAgICAgIF0sCiAgICAgICJtZXRob2QiOiAiZmlsZXMiCiAgICB9CiAgfSwKICAicHJlZGljYXRlVHlwZSI6ICJodHRwczovL21vZGVsX3NpZ25pbmcvc2lnbmF0dXJlL3YxLjAiLAogICJzdWJqZWN0IjogWwogICAgewogICAgICAiZGlnZXN0IjogewogICAgICAgICJzaGEyNTYiOiAiYTc0OWU5YWI2YWVlNzMxMDI3NDQ2ZTI4YjdmOWYwNGUwNTRiZWM5MzYzZTc5Yzg2Yjc4ZWJjNTE3MjcxMTlmOSIKICAgICAgfSwKICAgICAgIm5hbWUiOiAiYWNtZS90aW55IgogICAgfQogIF0KfQo=",
    "payloadType": "application/vnd.in-toto+json",
    "signatures": [
      {
        "keyid": "",
        "sig": "MEUCIQCeyMd26hJ6gs/wzrriyCurVfsVI0UQiwu4Xi7mAISQVQIgRF6Qn6IgeLDBCks1ph2NwThf6cMqUJuZxwVHCbv8RZ0="
      }
    ]
  },
  "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
  "verificationMaterial": {
    "publicKey": {
      "hint": "456e18cee1d685658964f438861fba514d21485a4cf6db5f72bfe8d5437b161a"
    },
    "tlogEntries": []
  }
}
