"""The generator: 8-channel VAE, denoiser with the Eq. 2 lesion adapter, few-step samplers, synthesis."""
