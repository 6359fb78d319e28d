"""Reward functions: pure functions of the answers, without a model."""

from train.rewards.functions import RewardFunction, check_rewards, reward_functions

__all__ = ["RewardFunction", "check_rewards", "reward_functions"]
