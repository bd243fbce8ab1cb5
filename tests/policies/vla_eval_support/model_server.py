"""Run by a Python that has vla-eval: its real server around a model that echoes the state, in chunks if asked to.

Options, as JSON: port, notes (file), action_dim, chunk_size, action_spec, observation_spec, observation_params,
fail_at (step whose prediction fails), refuse (whether episodes are), silent (text instead of numbers), slow_s.
"""

import json
import sys
import time
import zlib

import anyio
import numpy as np
from vla_eval.model_servers.predict import PredictModelServer
from vla_eval.model_servers.serve import serve_async
from vla_eval.specs import DimSpec

OPTIONS = json.loads(sys.argv[1])


def note(event, **content):
    with open(OPTIONS["notes"], "a") as file:  # noqa: PTH123 - one line, at once
        file.write(json.dumps({"event": event, **content}) + "\n")


class NotingModelServer(PredictModelServer):
    def __init__(self):
        super().__init__(chunk_size=OPTIONS.get("chunk_size"))

    def get_action_spec(self):
        return {name: DimSpec.from_dict({"name": name, **spec}) for name, spec in OPTIONS["action_spec"].items()}

    def get_observation_spec(self):
        return {name: DimSpec.from_dict({"name": name, **spec}) for name, spec in OPTIONS["observation_spec"].items()}

    def get_observation_params(self):
        return OPTIONS.get("observation_params", {})

    async def on_episode_start(self, config, ctx):
        note("episode_start", **config)
        if OPTIONS.get("refuse"):
            raise RuntimeError("no such\ntask")
        await super().on_episode_start(config, ctx)

    async def on_episode_end(self, result, ctx):
        note("episode_end", **result)
        await super().on_episode_end(result, ctx)

    def predict(self, obs, ctx):
        pictures = {
            name: [list(picture.shape), str(picture.dtype), zlib.crc32(picture.tobytes())]
            for name, picture in obs.get("images", {}).items()
        }
        state = obs.get("states")
        note(
            "predict",
            step=ctx.step,
            keys=sorted(obs),
            images=pictures,
            states=None if state is None else state.tolist(),
            task=obs.get("task_description"),
        )
        if ctx.step == OPTIONS.get("fail_at"):
            raise RuntimeError("out of\nmemory")
        time.sleep(OPTIONS.get("slow_s", 0))
        if OPTIONS.get("silent"):
            return {"text": "none"}
        action = np.full(OPTIONS["action_dim"], ctx.step, np.float32)
        chunk = OPTIONS.get("chunk_size")
        return {"actions": action if chunk is None else np.stack([action + k / 10 for k in range(chunk)])}


OPTIONS = {"action_dim": 14, "action_spec": {}, "observation_spec": {}, **OPTIONS}
anyio.run(serve_async, NotingModelServer(), "127.0.0.1", OPTIONS["port"])
