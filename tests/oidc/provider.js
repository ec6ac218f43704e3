// An OpenID Connect provider for tests: oidc-provider as it is, with one client and whoever signs in.
//
//   node provider.js '{"callback": "http://localhost:8765/sign-in/oidc/done", "groups": {"alice": ["gate-stewards"]}}'
//
// Prints its issuer once it listens. Signs in anybody by any password on its own development pages; ends with its input.
import { createServer } from "node:http";

import { Provider } from "oidc-provider";

const asked = JSON.parse(process.argv[2]);
const claims = (id) => ({ sub: id, preferred_username: id, groups: asked.groups[id] || [] });

const listening = createServer((request, response) => handle(request, response));
let handle;
listening.listen(0, "127.0.0.1", () => {
  const issuer = `http://localhost:${listening.address().port}`;
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: "tidegate",
        client_secret: asked.secret,
        redirect_uris: [asked.callback],
        grant_types: ["authorization_code"],
        response_types: ["code"],
        token_endpoint_auth_method: asked.secret ? "client_secret_basic" : "none",
      },
    ],
    claims: { openid: ["sub"], profile: ["preferred_username"], groups: ["groups"] },
    conformIdTokenClaims: asked.claims_at_userinfo === true,
    findAccount: (_, id) => ({ accountId: id, claims: async () => claims(id) }),
    pkce: { required: () => true },
    cookies: { keys: ["of the tests alone"] },
    ttl: { AccessToken: 600, AuthorizationCode: 60, Grant: 600, IdToken: 600, Interaction: 600, Session: 600 },
  });
  provider.on("server_error", (_, error) => process.stderr.write(`${error.stack}\n`));
  handle = provider.callback();
  process.stdout.write(`${issuer}\n`);
});
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
