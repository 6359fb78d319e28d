"""Values of the settings that a job leaves to the service (`auto`): one pure rule for each setting.

`docs/howto/choose-settings.md` describes the rules and gives their sources.
"""
