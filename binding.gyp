{
  "targets": [
    {
      "target_name": "anymal",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["<(INTERMEDIATE_DIR)/cmake.stamp"],
          "action": ["node", "<(module_root_dir)/tools/build-native.cjs"]
        }
      ]
    }
  ]
}
