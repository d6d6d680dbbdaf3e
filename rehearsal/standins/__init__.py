"""Stand-ins for provider plugins: what the engine talks to where Google's and Docker's own are missing."""
