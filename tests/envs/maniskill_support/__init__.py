"""What runs inside ManiSkill's environment."""
