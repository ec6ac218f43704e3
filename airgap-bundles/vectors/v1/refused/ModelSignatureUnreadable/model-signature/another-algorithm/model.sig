{
  "dsseEnvelope": {
    "payload": "ewogICJfdHlwZSI6ICJodHRwczovL2luLXRvdG8uaW8vU3RhdGVtZW50L3YxIiwKICAicHJlZGljYXRlIjogewogICAgInJlc291cmNlcyI6IFsKICAgICAgewogICAgICAgICJhbGdvcml0aG0iOiAibWQ1IiwKICAgICAgICAiZGlnZXN0IjogImI3OTYwNmZiM2FmZWE1YmQxNjA5ZWQ0MGI2MjIxNDJmMWM5ODEyNWFiY2ZlODlhNzZhNjYxYjBlOGUzNDM5MTAiLAogICAgICAgICJuYW1lIjogImNvbmZpZy5qc29uIgogICAgICB9CiAgICBdLAogICAgInNlcmlhbGl6YXRpb24iOiB7CiAgICAgICJhbGxvd19zeW1saW5rcyI6IGZhbHNlLAogICAgICAiaGFzaF90eXBlIjogInNoYTI1NiIsCiAgICAgICJpZ25vcmVfcGF0aHMiOiBbCiAgICAgICAgIi5naXQiLAogICAgICAgICIuZ2l0YXR0cmlidXRlcyIsCiAgICAgICAgIi5naXRodWIiLAogICAgICAgICIuZ2l0aWdub3JlIgogICAgICBdLAogICAgICAibWV0aG9kIjogImZpbGVzIgogICAgfQogIH0sCiAgInByZWRpY2F0ZVR5cGUiOiAiaHR0cHM6Ly9tb2RlbF9zaWduaW5nL3NpZ25hdHVyZS92MS4wIiwKICAic3ViamVjdCI6IFsKICAgIHsKICAgICAgImRpZ2VzdCI6IHsKICAgICAgICAic2hhMjU2IjogIjljNDBlZjFmYzZmYzkzMmY3MDg5MjRiMjA1OGE1MzAyZTlmMDIwYjA4YzU1N2IzZTQ3NzU2NmMyNmIyYmI4MWQiCiAgICAgIH0sCiAgICAgICJuYW1lIjogImFjbWUvdGlueSIKICAgIH0KICBdCn0K",
    "payloadType": "application/vnd.in-toto+json",
    "signatures": [
      {
        "keyid": "",
        "sig": "MEUCIQD4cCOI2lN+BAbU9GWIyHZPb1NiK5AQbCGGODPzZ0OndAIgSFu4xNbEu5WqaG0kugOMtrlhzKY63ovTTLZmK8KEtsM="
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
