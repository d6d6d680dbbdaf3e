"""As much of Vertex AI's custom jobs as a staged model needs, beside the small loopback Google."""

from tests.unit.modelops.fake_google import FakeGoogle, missing

PARENT = "projects/p/locations/l"
CUSTOM_JOB = f"{PARENT}/customJobs/weights"


class FakeVertex(FakeGoogle):
    """Custom jobs by number; one that runs goes a step further each time it is looked at."""

    def __init__(self):
        super().__init__()
        self.custom_jobs = {}
        self.refusal = None
        """Status and message instead of the next creation."""

    def run_api(self, method, path, body=None):
        if "/customJobs" not in path:
            return super().run_api(method, path)
        name = path.removeprefix("/v1/")
        if method == "POST" and name.endswith(":cancel"):
            self._end(self.custom_jobs[name.removesuffix(":cancel")], "CANCELLED", "CANCELED")
            return 200, {}
        if method == "POST":
            return self._create(body)
        if name.endswith("/customJobs"):
            return 200, {"customJobs": [self._shown(job) for job in self.custom_jobs.values()]}
        return (200, self._look(name)) if name in self.custom_jobs else missing()

    def create(self, body):
        """A custom job that an earlier deployment, or another, has created."""
        return self._create(body)[1]

    def _create(self, body):
        if self.refusal:
            (status, message), self.refusal = self.refusal, None
            return status, {"error": {"code": status, "message": message}}
        number = len(self.custom_jobs) + 1
        name = f"projects/12345/locations/l/customJobs/{number}"
        times = {"createTime": f"2026-01-01T00:00:{number:02d}Z", "steps": self.steps}
        self.custom_jobs[name] = {**body, **times, "name": name, "state": "JOB_STATE_PENDING"}
        return 200, self._shown(self.custom_jobs[name])

    def _look(self, name):
        job = self.custom_jobs[name]
        if "endTime" not in job:
            job["steps"] -= 1
            job["state"] = "JOB_STATE_RUNNING"
            if job["steps"] <= 0 and self.outcome in ("stage", "nothing"):
                if self.outcome == "stage":
                    self.stage()
                self._end(job, "SUCCEEDED")
            elif job["steps"] <= 0:
                self._end(job, "FAILED", self.outcome)
        return self._shown(job)

    def _end(self, job, state, message=None):
        job |= {"state": f"JOB_STATE_{state}", "endTime": "2026-01-01T00:01:00Z"}
        if message:
            job["error"] = {"code": 3, "message": message}

    def _shown(self, job):
        return {key: value for key, value in job.items() if key != "steps"}
