{
  "dsseEnvelope": {
    "payload": "ewogICJfdHlwZSI6ICJodHRwczovL2luLXRvdG8uaW8vU3RhdGVtZW50L3YxIiwKICAicHJlZGljYXRlIjogewogICAgInJlc291cmNlcyI6IFsKICAgICAgewogICAgICAgICJhbGdvcml0aG0iOiAic2hhMjU2IiwKICAgICAgICAiZGlnZXN0IjogImI3OTYwNmZiM2FmZWE1YmQxNjA5ZWQ0MGI2MjIxNDJmMWM5ODEyNWFiY2ZlODlhNzZhNjYxYjBlOGUzNDM5MTAiLAogICAgICAgICJuYW1lIjogImNvbmZpZy5qc29uIgogICAgICB9LAogICAgICB7CiAgICAgICAgImFsZ29yaXRobSI6ICJzaGEyNTYiLAogICAgICAgICJkaWdlc3QiOiAiOWExMjkwMzhkOWEwMGFlZDBjZjZhN2VhMDU5Y2E1MGE4MTM0NDkwNjFhYjg3ODQ4Y2YxYTEzZWFmZGYzM2IyYyIsCiAgICAgICAgIm5hbWUiOiAid2VpZ2h0cy9tb2RlbC5zYWZldGVuc29ycyIKICAgICAgfQogICAgXSwKICAgICJzZXJpYWxpemF0aW9uIjogewogICAgICAiYWxsb3dfc3ltbGlua3MiOiBmYWxzZSwKICAgICAgImhhc2hfdHlwZSI6ICJzaGEyNTYiLAogICAgICAiaWdub3JlX3BhdGhzIjogWwogICAgICAgICIuZ2l0IiwKICAgICAgICAiLmdpdGF0dHJpYnV0ZXMiLAogICAgICAgICIuZ2l0aHViIiwKICAgICAgICAiLmdpdGlnbm9yZSIKICAgICAgXSwKICAgICAgIm1ldGhvZCI6ICJmaWxlcyIKICAgIH0KICB9LAogICJwcmVkaWNhdGVUeXBlIjogImh0dHBzOi8vbW9kZWxfc2lnbmluZy9EaWdlc3RzL3YwLjEiLAogICJzdWJqZWN0IjogWwogICAgewogICAgICAiZGlnZXN0IjogewogICAgICAgICJzaGEyNTYiOiAiODg5OWU3OWE3Zjk2OWJmY2E2ODMzN2ZkZDM5ZTEyZTc1ODU3YWNjYmY2NTMwOTExMTZmYWE2YzdmMGM4NTBmNCIKICAgICAgfSwKICAgICAgIm5hbWUiOiAiYWNtZS90aW55IgogICAgfQogIF0KfQo=",
    "payloadType": "application/vnd.in-toto+json",
    "signatures": [
      {
        "keyid": "",
        "sig": "MEUCIQDI2LslWrzObkJjsv5TiM3fhQP93tOVP9R/LAYHlRwZJgIgYkg3cRKlVtzjm6zUSgdXh8vbluuCwqbcQF2SJ/93JhU="
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
