"""What every Pulumi provider of this project shares.

- `values`: property values on the wire and plain Python data.
- `paths`, `diff`: property paths and a structural diff that copes with unknown values.
- `provider`: the class to derive from, with typed requests and responses.
- `servicer`, `server`: the gRPC service that the engine talks to, and a plugin's `main`.
- `log`: messages and status lines in the engine's own log.
- `errors`: what a provider raises, and how a person reads it.
"""
