"""The recipes of the foundation: what is computed once a split and shared by every arm, seed and trial."""

from __future__ import annotations

from typing import Any

from engine.pipeline.book import RecipeBook


class FoundationRecipes(RecipeBook):
    """From train lesions alone: embedder, index, generator parts, judge, and what evaluation needs of them."""

    def data(self) -> None:
        """Decode the images and split them.

        Which training sets are used decides about the split only where the generator parts may see no other.
        """
        self.images()
        section = {k: v for k, v in self.tree["data"]["split"].items() if v is not None}
        params: dict[str, Any] = {"split": section}
        sets = self.config.data.split.train_sets
        if sets is not None:
            section["train_sets"] = {k: v for k, v in section["train_sets"].items() if k != "use"}
        if sets is not None and self.config.loop.generator_saw == "own":
            params["only"] = sets.use
        self._foundation("split", params, ("images",))

    def images(self) -> None:
        """Decode the images alone."""
        data = {k: v for k, v in self.tree["data"].items() if k not in ("split", "malignant")}
        drawn = self.config.data.format == "phantom" or self.config.data.limit is not None
        params = {"data": data, "fingerprint": self.fingerprint, "seed": self.config.seed if drawn else 0}
        self._foundation("images", params, (), seeded=False)

    def foundation(self) -> None:
        """Embedder, index, VAE, latents, denoiser, judge: from train lesions only, shared by every arm and seed."""
        cut = {"crop": self.config.data.crop, "mask": self.config.data.mask}
        embedder, vae, denoiser = (self.tree[k] for k in ("embedder", "vae", "denoiser"))
        base = ("images", "split")
        self._foundation("embedder", {"embedder": embedder, "data": cut}, base)
        self._foundation("index", {"embedder": embedder, "data": cut}, (*base, "embedder"))
        if self.config.synthesis.generator == "diffusion":
            self._foundation("vae", {"vae": vae}, base)
            self._foundation("latents", {"vae": vae}, (*base, "vae"))
            self._foundation(
                "denoiser",
                {"denoiser": denoiser, "embedder": embedder},
                (*base, "embedder", "index", "latents"),
            )
        if self.config.evaluation.likelihood:
            self._foundation(
                "likelihood",
                {"images": self.config.evaluation.likelihood, "pretrained": denoiser["pretrained"]},
                (*base, "embedder", "vae", "denoiser"),
            )
        if self.config.synthesis.generator == "dcgan" or "dcgan" in self.config.loop.arms:
            self._foundation("gan", {"gan": self.tree["gan"]}, base)
        self._foundation("judge", {"judge": self.tree["judge"]}, base)
        self._foundation("features", self._feature_params(), (*base, "embedder", "judge"))
        self._foundation("challenging", {}, (*base, "judge"))
